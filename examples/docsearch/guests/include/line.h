/* Lines: text put together piece by piece at the end of memory.
 *
 *     line_t line = line_begin();
 *     line_add(&line, TEXT("documents: "));
 *     line_add_number(&line, 3);
 *
 * Nothing else may be allocated while a line grows; it may be used until the next release.
 */
#ifndef LINE_H
#define LINE_H

#include "guest.h"

typedef struct {
    uint8_t *bytes;
    size_t length;
} line_t;

static line_t line_begin(void) {
    return (line_t){allocate(0, 1), 0};
}

static void line_add(line_t *line, text_t piece) {
    uint8_t *at = allocate(piece.length, 1);
    if (at != line->bytes + line->length) {
        __builtin_trap(); /* somebody allocated in between */
    }
    if (piece.length > 0) {
        __builtin_memcpy(at, piece.bytes, piece.length);
    }
    line->length += piece.length;
}

static void line_add_number(line_t *line, uint32_t number) {
    uint8_t digits[10];
    size_t first = sizeof digits;
    do {
        digits[--first] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    line_add(line, (text_t){digits + first, sizeof digits - first});
}

static text_t line_text(const line_t *line) {
    return (text_t){line->bytes, line->length};
}

#endif
