/* wasi:http/outgoing-handler, and what of wasi:http/types belongs to own requests. */
#ifndef OUTGOING_H
#define OUTGOING_H

#include "bridge.h"

#define OUTGOING TYPES "#[method]outgoing-request."

typedef struct {
    word_t method;
    maybe_word_t scheme;
    maybe_text_t authority, target;
    fields_t *fields;
    outbody_t *body;
} sending_t;

enum { TIMEOUTS = 3 };

/* option<duration> */
typedef struct {
    uint8_t is_some;
    uint64_t duration;
} maybe_duration_t;

typedef struct {
    maybe_duration_t timeouts[TIMEOUTS]; /* to connect, to the first byte, between bytes */
} options_t;

typedef struct {
    fetch_t *fetch;
    bool is_taken;
} future_t;

_Static_assert(sizeof(maybe_duration_t) == 16, "option<duration>");

IMPORT("[export]" TYPES, "[resource-new]outgoing-request")
extern handle_t sending_new(sending_t *rep);
IMPORT("[export]" TYPES, "[resource-rep]outgoing-request")
extern sending_t *sending_rep(handle_t handle);
IMPORT("[export]" TYPES, "[resource-drop]outgoing-request")
extern void sending_drop_handle(handle_t handle);
IMPORT("[export]" TYPES, "[resource-new]request-options")
extern handle_t options_new(options_t *rep);
IMPORT("[export]" TYPES, "[resource-rep]request-options")
extern options_t *options_rep(handle_t handle);
IMPORT("[export]" TYPES, "[resource-drop]request-options")
extern void options_drop_handle(handle_t handle);
IMPORT("[export]" TYPES, "[resource-new]future-incoming-response")
extern handle_t future_new(future_t *rep);
IMPORT("[export]" TYPES, "[resource-new]incoming-response")
extern handle_t incoming_response_new(incoming_t *rep);

/* ---- outgoing-request --------------------------------------------------------------------- */

/* Tell whether a text has only visible ASCII, and none of some bytes. */
static bool is_visible(text_t text, text_t unfit) {
    for (size_t i = 0; i < text.length; i++) {
        if (text.bytes[i] <= ' ' || text.bytes[i] >= 0x7F || has_byte(unfit, text.bytes[i])) {
            return false;
        }
    }
    return true;
}

static bool is_path(text_t text) {
    bool is_begun = text.length == 0 || text.bytes[0] == '/' || text.bytes[0] == '?' ||
                    is_same(text, TEXT("*"));
    return is_begun && is_visible(text, TEXT("#"));
}

static bool is_authority(text_t text) {
    return text.length > 0 && is_visible(text, TEXT("/?#\\\"<>^`{|}"));
}

static bool is_scheme(text_t text) {
    for (size_t i = 0; i < text.length; i++) {
        uint8_t byte = lower(text.bytes[i]);
        bool is_letter = byte >= 'a' && byte <= 'z';
        bool is_more = (byte >= '0' && byte <= '9') || byte == '+' || byte == '-' || byte == '.';
        if (!is_letter && (i == 0 || !is_more)) {
            return false;
        }
    }
    return text.length > 0;
}

static void set_text(text_t *place, text_t text) {
    heap_give(place->bytes);
    *place = text.length == 0 ? (text_t){0} : text_copy(text);
}

EXPORT(TYPES "#[constructor]outgoing-request") handle_t sending_constructor(handle_t headers) {
    sending_t *request = heap_zeroed(sizeof(sending_t));
    request->fields = fields_take(headers);
    return sending_new(request);
}

EXPORT(OUTGOING "body") own_result_t *sending_body(sending_t *request) {
    if (request->body != NULL) {
        return own_result(false, 0);
    }
    request->body = make_outbody(true, expected_length(request->fields));
    return own_result(true, outbody_new(outbody_share(request->body)));
}

EXPORT(OUTGOING "method") word_t *sending_method(const sending_t *request) {
    return word_result(request->method);
}

EXPORT(OUTGOING "set-method")
uint32_t sending_set_method(sending_t *request, uint32_t kind, uint8_t *bytes, size_t length) {
    text_t name = {bytes, length};
    bool is_fit = kind < METHOD_OTHER || is_token(name);
    if (is_fit) {
        set_text(&request->method.other, kind == METHOD_OTHER ? name : (text_t){0});
        request->method.kind = (uint8_t)kind;
    }
    scratch_end();
    return !is_fit;
}

EXPORT(OUTGOING "path-with-query") maybe_text_t *sending_path(const sending_t *request) {
    return maybe_text(request->target.is_some, request->target.text);
}

static uint32_t set_maybe(maybe_text_t *place, uint32_t is_some, text_t text, bool is_fit) {
    is_fit = is_fit || !is_some;
    if (is_fit) {
        set_text(&place->text, is_some ? text : (text_t){0});
        place->is_some = (uint8_t)is_some;
    }
    scratch_end();
    return !is_fit;
}

EXPORT(OUTGOING "set-path-with-query")
uint32_t sending_set_path(sending_t *request, uint32_t is_some, uint8_t *bytes, size_t length) {
    text_t text = {bytes, length};
    return set_maybe(&request->target, is_some, text, is_path(text));
}

EXPORT(OUTGOING "scheme") maybe_word_t *sending_scheme(const sending_t *request) {
    return maybe_word(request->scheme.is_some, request->scheme.word);
}

EXPORT(OUTGOING "set-scheme")
uint32_t sending_set_scheme(sending_t *request, uint32_t is_some, uint32_t kind, uint8_t *bytes,
                             size_t length) {
    text_t name = {bytes, length};
    bool is_other = is_some && kind == SCHEME_OTHER;
    bool is_fit = !is_other || is_scheme(name);
    if (is_fit) {
        set_text(&request->scheme.word.other, is_other ? name : (text_t){0});
        request->scheme.word.kind = (uint8_t)kind;
        request->scheme.is_some = (uint8_t)is_some;
    }
    scratch_end();
    return !is_fit;
}

EXPORT(OUTGOING "authority") maybe_text_t *sending_authority(const sending_t *request) {
    return maybe_text(request->authority.is_some, request->authority.text);
}

EXPORT(OUTGOING "set-authority")
uint32_t sending_set_authority(sending_t *request, uint32_t is_some, uint8_t *bytes,
                                size_t length) {
    text_t text = {bytes, length};
    return set_maybe(&request->authority, is_some, text, is_authority(text));
}

EXPORT(OUTGOING "headers") handle_t sending_headers(const sending_t *request) {
    return fields_new(fields_share(request->fields));
}

EXPORT(TYPES "#[dtor]outgoing-request") void sending_drop(sending_t *request) {
    heap_give(request->method.other.bytes);
    heap_give(request->scheme.word.other.bytes);
    heap_give(request->authority.text.bytes);
    heap_give(request->target.text.bytes);
    fields_end(request->fields);
    outbody_leave(request->body);
    heap_give(request);
}

/* ---- request-options ---------------------------------------------------------------------- */

#define OPTIONS TYPES "#[method]request-options."

EXPORT(TYPES "#[constructor]request-options") handle_t options_constructor(void) {
    return options_new(heap_zeroed(sizeof(options_t)));
}

#define TIMEOUT(number, name, identifier)                                                          \
    EXPORT(OPTIONS name) maybe_duration_t *identifier(options_t *options) {                        \
        return &options->timeouts[number];                                                         \
    }                                                                                              \
    EXPORT(OPTIONS "set-" name)                                                                    \
    uint32_t set_##identifier(options_t *options, uint32_t is_some, uint64_t duration) {           \
        options->timeouts[number] = (maybe_duration_t){(uint8_t)is_some, duration};                \
        return 0;                                                                                  \
    }

TIMEOUT(0, "connect-timeout", connect_timeout)
TIMEOUT(1, "first-byte-timeout", first_byte_timeout)
TIMEOUT(2, "between-bytes-timeout", between_bytes_timeout)

EXPORT(TYPES "#[dtor]request-options") void options_drop(options_t *options) {
    heap_give(options);
}

/* ---- outgoing-handler --------------------------------------------------------------------- */

/* Return a request as the host reads it, in scratch. */
static text_t request_text(const sending_t *request, const options_t *options, bool is_whole) {
    const outbody_t *body = request->body;
    word_t scheme = request->scheme.is_some ? request->scheme.word : (word_t){.kind = 1};
    text_t method = text_of(request->method, method_names, METHOD_OTHER);
    text_t scheme_name = text_of(scheme, scheme_names, SCHEME_OTHER);
    text_t target = request->target.text;
    bool is_bare = target.length == 0 || target.bytes[0] == '?'; /* the path is empty */
    text_t authority = request->authority.text;
    uint8_t *head = scratch(method.length + scheme_name.length + authority.length +
                                target.length + lines_length(request->fields) +
                                TIMEOUTS * (DIGITS_MAX + 1) + 9,
                            1);
    uint8_t *end = put_line(head, method);
    end = put_line(end, scheme_name);
    end = put_line(end, authority);
    if (is_bare) {
        *end++ = '/';
    }
    end = put_line(end, target);
    for (size_t i = 0; i < TIMEOUTS; i++) {
        if (options != NULL && options->timeouts[i].is_some) {
            end = put_number(end, options->timeouts[i].duration);
        }
        *end++ = '\n';
    }
    end = put_fields(end, request->fields);
    *end++ = 0;
    text_t text = frame_encode(head, (size_t)(end - head));
    size_t length = is_whole && body != NULL ? body->length : 0;
    uint8_t *out = scratch(text.length + bulk_length_max(length), 1);
    end = put_bytes(out, text.bytes, text.length);
    if (is_whole) {
        end += bulk_write(end, length == 0 ? out : body->kept, length);
    } else {
        *end++ = 's';
    }
    return (text_t){out, (size_t)(end - out)};
}


EXPORT("wasi:http/outgoing-handler@0.2.12#handle")
http_result_t *sending_handle(handle_t handle, uint32_t has_options, handle_t options_handle) {
    sending_t *request = sending_rep(handle);
    outbody_t *body = request->body;
    bool is_whole = body == NULL || (body->is_finished && body->trailers == NULL);
    text_t text = request_text(request, has_options ? options_rep(options_handle) : NULL, is_whole);
    static http_result_t result;
    fetch_t *fetch = NULL;
    result.value.error = http_error(failure(HTTP_PROTOCOL_ERROR)); /* the body was given up */
    if (body == NULL || body->is_finished || !body->is_over) {
        text_t answer;
        host_fetch(text.bytes, text.length, &answer);
        if (answer.bytes[0] == '!') {
            result.value.error = http_error(failure_behind_mark(answer));
        } else {
            fetch = make_fetch((uint32_t)number_in(answer));
        }
    }
    if (fetch != NULL && !is_whole) {
        body->fetch = fetch_share(fetch);
        begin_body(body, fetch->number);
        if (body->is_finished) {
            finish_body(body->number, body->trailers);
        }
    } else if (fetch == NULL && body != NULL) {
        body->is_over = true;
    }
    sending_drop_handle(handle);
    if (has_options) {
        options_drop_handle(options_handle);
    }
    result.is_error = fetch == NULL;
    if (fetch != NULL) {
        future_t *future = heap_zeroed(sizeof(future_t));
        future->fetch = fetch;
        result.value.handle = future_new(future);
    }
    scratch_end();
    return &result;
}

/* ---- future-incoming-response ------------------------------------------------------------- */

EXPORT(TYPES "#[method]future-incoming-response.subscribe")
handle_t future_subscribe(const future_t *future) {
    return make_interest(future->fetch->number, OF_STATE);
}

static handle_t make_incoming_response(fetch_t *fetch, text_t head) {
    head = text_copy(frame_decode(head));
    uint8_t *block = head.bytes;
    incoming_t *response = heap_zeroed(sizeof(incoming_t));
    response->status = (uint32_t)number_in(take_line(&head));
    response->fields = fields_from_lines(&head, block);
    response->body = make_inbody(fetch->number, fetch);
    return incoming_response_new(response);
}

EXPORT(TYPES "#[method]future-incoming-response.get") later_t *future_get(future_t *future) {
    static later_t result;
    text_t head = TEXT("");
    __builtin_memset(&result, 0, sizeof(result));
    if (future->is_taken) {
        result.is_some = result.is_taken = 1;
        return &result;
    }
    host_answer(future->fetch->number, &head);
    result.is_some = future->is_taken = head.length > 0;
    if (head.length > 0 && head.bytes[0] == '!') {
        result.is_error = 1;
        result.value.error = http_error(failure_behind_mark(head));
    } else if (head.length > 0) {
        result.value.handle = make_incoming_response(future->fetch, head);
    }
    scratch_end();
    return &result;
}

EXPORT(TYPES "#[dtor]future-incoming-response") void future_drop(future_t *future) {
    fetch_leave(future->fetch);
    heap_give(future);
}

/* ---- incoming-response -------------------------------------------------------------------- */

#define ANSWER TYPES "#[method]incoming-response."

EXPORT(ANSWER "status") uint32_t answer_status(const incoming_t *response) {
    return response->status;
}

EXPORT(ANSWER "headers") handle_t answer_headers(const incoming_t *response) {
    return fields_new(fields_share(response->fields));
}

EXPORT(ANSWER "consume") own_result_t *answer_consume(incoming_t *response) {
    return consume(response);
}

EXPORT(TYPES "#[dtor]incoming-response") void answer_drop(incoming_t *response) {
    incoming_leave(response);
}

#endif
