/* The component `ask`: puts a question to `docs:search/query` and answers it in plain lines. */

#include "../include/line.h"

#define ANSWERS 3u /* lines of one answer */

/* --- What docs:search/query looks like in memory --- */

typedef struct {
    uint32_t id;
    text_t title;
    text_t module;
    uint8_t kind;
    double score;
    text_t snippet;
} answer_t;

enum { NO_TERMS, QUERY_TOO_LONG, LIMIT_OUT_OF_RANGE };

typedef struct {
    uint8_t is_error;
    union {
        struct {
            answer_t *items;
            size_t length;
        } answers;
        struct {
            uint8_t reason;
            uint32_t maximum;
        } error;
    } value;
} search_result_t;

_Static_assert(sizeof(answer_t) == 40 && offsetof(answer_t, score) == 24, "record answer");
_Static_assert(sizeof(search_result_t) == 12, "result<list<answer>, search-error>");

IMPORT("docs:search/query@0.1.0", "search")
extern void search(const uint8_t *query, size_t query_length, uint32_t limit,
                   search_result_t *result);

/* --- docs:ask/ask --- */

enum { NOTHING_FOUND, REFUSED };

typedef struct {
    uint8_t is_error;
    union {
        struct {
            text_t *items;
            size_t length;
        } lines;
        struct {
            uint8_t reason;
            text_t explanation;
        } error;
    } value;
} ask_result_t;

_Static_assert(sizeof(ask_result_t) == 16, "result<list<string>, ask-error>");

static ask_result_t result; /* read by the host between a call and its post-return */

static text_t kind_name(uint8_t kind) {
    switch (kind) {
    case 0: return TEXT("module");
    case 1: return TEXT("class");
    default: return TEXT("function");
    }
}

static text_t answer_line(const answer_t *answer) {
    line_t line = line_begin();
    line_add(&line, answer->title);
    line_add(&line, TEXT(", a "));
    line_add(&line, kind_name(answer->kind));
    line_add(&line, TEXT(" of "));
    line_add(&line, answer->module);
    line_add(&line, TEXT(": "));
    line_add(&line, answer->snippet);
    return line_text(&line);
}

static text_t explanation(uint8_t reason, uint32_t maximum) {
    line_t line = line_begin();
    switch (reason) {
    case NO_TERMS:
        line_add(&line, TEXT("the question has no word to look for"));
        break;
    case QUERY_TOO_LONG:
        line_add(&line, TEXT("the question is too long, at most "));
        line_add_number(&line, maximum);
        line_add(&line, TEXT(" characters"));
        break;
    default:
        line_add(&line, TEXT("the search gives at most "));
        line_add_number(&line, maximum);
        line_add(&line, TEXT(" answers"));
        break;
    }
    return line_text(&line);
}

EXPORT("docs:ask/ask@0.1.0#ask")
ask_result_t *ask(const uint8_t *question, size_t length) {
    search_result_t found;
    search(question, length, ANSWERS, &found);
    result = (ask_result_t){.is_error = 1, .value.error.reason = NOTHING_FOUND};
    if (found.is_error) {
        result.value.error.reason = REFUSED;
        result.value.error.explanation =
            explanation(found.value.error.reason, found.value.error.maximum);
    } else if (found.value.answers.length > 0) {
        size_t count = found.value.answers.length;
        text_t *lines = ALLOCATE(text_t, count);
        for (size_t i = 0; i < count; i++) {
            lines[i] = answer_line(&found.value.answers.items[i]);
        }
        result.is_error = 0;
        result.value.lines.items = lines;
        result.value.lines.length = count;
    }
    return &result;
}

EXPORT("cabi_post_docs:ask/ask@0.1.0#ask")
void ask_done(ask_result_t *unused) {
    (void)unused;
    heap_release();
}
