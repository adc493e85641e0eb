/* wasi:http/types: the request that the guest answers, and bodies that come in. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include "../wasi/output.h"

/* method; scheme */
typedef struct {
    uint8_t kind;
    text_t other;
} word_t;

/* option<scheme> */
typedef struct {
    uint8_t is_some;
    word_t word;
} maybe_word_t;

enum { METHOD_HEAD = 1, METHOD_OTHER = 9, SCHEME_OTHER = 2 };

/* An incoming-request, or an incoming-response, which has a status instead of most. */
typedef struct {
    uint32_t status;
    word_t method, scheme;
    text_t authority, target; /* they lie where the fields do */
    fields_t *fields;
    inbody_t *body;
    bool is_consumed;
} incoming_t;

typedef struct {
    inbody_t *body;
    bool is_taken;
} trailers_t;

_Static_assert(sizeof(word_t) == 12, "method");
_Static_assert(sizeof(maybe_word_t) == 16, "option<scheme>");

IMPORT("[export]" TYPES, "[resource-new]incoming-request")
extern handle_t incoming_request_new(incoming_t *rep);
IMPORT("[export]" TYPES, "[resource-new]incoming-body") extern handle_t inbody_new(inbody_t *rep);
IMPORT("[export]" TYPES, "[resource-rep]incoming-body")
extern inbody_t *inbody_rep(handle_t handle);
IMPORT("[export]" TYPES, "[resource-drop]incoming-body")
extern void inbody_drop_handle(handle_t handle);
IMPORT("[export]" TYPES, "[resource-new]future-trailers")
extern handle_t trailers_new(trailers_t *rep);

static const text_t method_names[METHOD_OTHER] = {
    TEXT("GET"),     TEXT("HEAD"),    TEXT("POST"),  TEXT("PUT"),   TEXT("DELETE"),
    TEXT("CONNECT"), TEXT("OPTIONS"), TEXT("TRACE"), TEXT("PATCH"),
};

static const text_t scheme_names[SCHEME_OTHER] = {TEXT("http"), TEXT("https")};

static bool is_same(text_t a, text_t b) {
    bool is_equal = a.length == b.length;
    for (size_t i = 0; is_equal && i < a.length; i++) {
        is_equal = a.bytes[i] == b.bytes[i];
    }
    return is_equal;
}

static bool has_byte(text_t text, uint8_t byte) {
    for (size_t i = 0; i < text.length; i++) {
        if (text.bytes[i] == byte) {
            return true;
        }
    }
    return false;
}

static word_t word_of(text_t text, const text_t *names, uint8_t count) {
    uint8_t kind = 0;
    while (kind < count && !is_same(text, names[kind])) {
        kind++;
    }
    return (word_t){kind, text};
}

static text_t text_of(word_t word, const text_t *names, uint8_t count) {
    return word.kind < count ? names[word.kind] : word.other;
}

static word_t *word_result(word_t word) {
    static word_t result;
    result = word;
    return &result;
}

static maybe_text_t *maybe_text(bool is_some, text_t text) {
    static maybe_text_t result;
    result = (maybe_text_t){is_some, text};
    return &result;
}

static maybe_word_t *maybe_word(bool is_some, word_t word) {
    static maybe_word_t result;
    result = (maybe_word_t){is_some, word};
    return &result;
}

static own_result_t *consume(incoming_t *incoming) {
    if (incoming->is_consumed) {
        return own_result(false, 0);
    }
    incoming->is_consumed = true;
    return own_result(true, inbody_new(inbody_share(incoming->body)));
}

static void incoming_leave(incoming_t *incoming) {
    fields_end(incoming->fields);
    inbody_leave(incoming->body);
    heap_give(incoming);
}

/* ---- incoming-request --------------------------------------------------------------------- */

#define REQUEST TYPES "#[method]incoming-request."

EXPORT(REQUEST "method") word_t *request_method(const incoming_t *request) {
    return word_result(request->method);
}

EXPORT(REQUEST "path-with-query") maybe_text_t *request_path(const incoming_t *request) {
    return maybe_text(true, request->target);
}

EXPORT(REQUEST "scheme") maybe_word_t *request_scheme(const incoming_t *request) {
    return maybe_word(true, request->scheme);
}

EXPORT(REQUEST "authority") maybe_text_t *request_authority(const incoming_t *request) {
    return maybe_text(request->authority.length > 0, request->authority);
}

EXPORT(REQUEST "headers") handle_t request_headers(const incoming_t *request) {
    return fields_new(fields_share(request->fields));
}

EXPORT(REQUEST "consume") own_result_t *request_consume(incoming_t *request) {
    return consume(request);
}

EXPORT(TYPES "#[dtor]incoming-request") void request_drop(incoming_t *request) {
    incoming_leave(request);
}

/* ---- incoming-body and future-trailers ---------------------------------------------------- */

EXPORT(TYPES "#[method]incoming-body.stream") own_result_t *inbody_stream(inbody_t *body) {
    if (body->has_stream) {
        return own_result(false, 0);
    }
    body->has_stream = body->is_streaming = true;
    input_t *input = cell_take();
    input->body = inbody_share(body);
    return own_result(true, input_new(input));
}

EXPORT(TYPES "#[dtor]incoming-body") void inbody_drop(inbody_t *body) {
    if (body->is_streaming) {
        give_up(STREAM_IS_HELD);
    }
    inbody_leave(body);
}

EXPORT(TYPES "#[static]incoming-body.finish") handle_t inbody_finish(handle_t handle) {
    trailers_t *trailers = heap_zeroed(sizeof(trailers_t));
    trailers->body = inbody_share(inbody_rep(handle));
    inbody_drop_handle(handle);
    if (!trailers->body->is_inline && !trailers->body->is_over) {
        host_body_skip(trailers->body->number);
    }
    return trailers_new(trailers);
}

EXPORT(TYPES "#[method]future-trailers.subscribe")
handle_t trailers_subscribe(const trailers_t *trailers) {
    const inbody_t *body = trailers->body;
    bool is_ready = body->is_inline || body->is_over;
    return is_ready ? make_pollable(0) : make_interest(body->number, OF_TRAILERS);
}

/* Return fields from lines that lie in scratch, as latin-1. */
static fields_t *received_fields(text_t lines) {
    lines = text_copy(frame_decode(lines));
    uint8_t *block = lines.bytes;
    return fields_from_lines(&lines, block);
}

EXPORT(TYPES "#[method]future-trailers.get") later_t *trailers_get(trailers_t *trailers) {
    static later_t result;
    text_t said = TEXT("t");
    const inbody_t *body = trailers->body;
    if (!trailers->is_taken && !body->is_inline && !body->is_over) {
        host_body_trailers(body->number, &said);
    }
    __builtin_memset(&result, 0, sizeof(result));
    result.is_some = said.bytes[0] != 'w';
    if (result.is_some) {
        result.is_taken = trailers->is_taken;
        trailers->is_taken = true;
    }
    text_t rest = {said.bytes + 1, said.length - 1};
    if (said.bytes[0] == '!') {
        result.is_error = 1;
        result.value.error = http_error(failure_in(rest));
    } else if (said.bytes[0] == 't' && rest.length > 0) {
        result.value.trailers.is_some = 1;
        result.value.trailers.handle = fields_new(received_fields(rest));
    }
    scratch_end();
    return &result;
}

EXPORT(TYPES "#[dtor]future-trailers") void trailers_drop(trailers_t *trailers) {
    inbody_leave(trailers->body);
    heap_give(trailers);
}

#endif
