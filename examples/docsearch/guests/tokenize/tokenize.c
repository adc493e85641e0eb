/* The component `tokenize`: `docs:search/text`, a text in, its terms out. */

#include "../include/terms.h"

typedef struct {
    text_t *items;
    size_t length;
} text_list_t;

static text_list_t result; /* read by the host between a call and its post-return */

EXPORT("docs:search/text@0.1.0#tokenize")
text_list_t *tokenize(const uint8_t *bytes, size_t length) {
    const text_t text = {bytes, length};
    term_t term;
    size_t count = 0;
    size_t size = 0;
    /* Twice: first to know how much memory the terms need, then to write them. */
    for (scan_t scan = scan_text(text); next_term(&scan, &term); count++) {
        size += term.length;
    }
    text_t *items = ALLOCATE(text_t, count);
    uint8_t *at = allocate(size, 1);
    scan_t scan = scan_text(text);
    for (size_t i = 0; next_term(&scan, &term); i++) {
        __builtin_memcpy(at, term.bytes, term.length);
        items[i] = (text_t){at, term.length};
        at += term.length;
    }
    result = (text_list_t){items, count};
    return &result;
}

EXPORT("cabi_post_docs:search/text@0.1.0#tokenize")
void tokenize_done(text_list_t *unused) {
    (void)unused;
    heap_release();
}
