/* Tries the functions of wasi:http/types, by path, and answers with the line of the first check
 * that does not hold; 0 when all hold.
 */
#include "web.h"

TYPES("http-error-code") extern void http_error_code(handle_t, result_t *);
TYPES("[static]fields.from-list") extern void fields_of(const text_t *, size_t, result_t *);
TYPES("[method]fields.get") extern void get_fields(handle_t, const char *, size_t, text_t *);
TYPES("[method]fields.has") extern uint32_t has_field(handle_t, const char *, size_t);
TYPES("[method]fields.set")
extern void set_field(handle_t, const char *, size_t, const text_t *, size_t, result_t *);
TYPES("[method]fields.delete")
extern void delete_field(handle_t, const char *, size_t, result_t *);
TYPES("[method]incoming-request.scheme") extern void request_scheme(handle_t, result_t *);
TYPES("[method]incoming-request.authority") extern void request_authority(handle_t, maybe_text_t *);
TYPES("[method]outgoing-request.method") extern void sent_method(handle_t, result_t *);
TYPES("[method]outgoing-request.path-with-query") extern void sent_path(handle_t, maybe_text_t *);
TYPES("[method]outgoing-request.scheme") extern void sent_scheme(handle_t, result_t *);
TYPES("[method]outgoing-request.authority") extern void sent_authority(handle_t, maybe_text_t *);
TYPES("[method]outgoing-request.headers") extern handle_t sent_headers(handle_t);
TYPES("[resource-drop]outgoing-request") extern void drop_sent(handle_t);
TYPES("[method]request-options.connect-timeout") extern void connect_timeout(handle_t, result_t *);
TYPES("[method]request-options.first-byte-timeout") extern void byte_timeout(handle_t, result_t *);
TYPES("[method]request-options.between-bytes-timeout")
extern void between_timeout(handle_t, result_t *);
TYPES("[method]request-options.set-first-byte-timeout")
extern uint32_t set_byte_timeout(handle_t, uint32_t, uint64_t);
TYPES("[method]request-options.set-between-bytes-timeout")
extern uint32_t set_between_timeout(handle_t, uint32_t, uint64_t);
TYPES("[resource-drop]request-options") extern void drop_options(handle_t);
TYPES("[method]outgoing-response.status-code") extern uint32_t given_status(handle_t);
TYPES("[method]outgoing-response.headers") extern handle_t given_headers(handle_t);
IMPORT("wasi:io/poll@0.2.0", "[method]pollable.ready") extern uint32_t is_ready(handle_t);
STREAMS("[method]input-stream.subscribe") extern handle_t subscribe_input(handle_t);
STREAMS("[method]output-stream.subscribe") extern handle_t subscribe_output(handle_t);
STREAMS("[method]output-stream.check-write") extern void check_write(handle_t, result_t *);
STREAMS("[method]output-stream.write")
extern void write_some(handle_t, const void *, size_t, result_t *);

static uint32_t failed_line;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition) && failed_line == 0) {                                                    \
            failed_line = __LINE__;                                                                \
        }                                                                                          \
    } while (0)

enum { INVALID, FORBIDDEN, IMMUTABLE, FINE = 9 };

/* What lies in a result at some offset. */
#define AT(result, offset) ((const uint8_t *)(result) + (offset))
#define WORD_AT(result, offset) (*(const uint32_t *)AT(result, offset))
#define LONG_AT(result, offset) (*(const uint64_t *)AT(result, offset))

static bool is(const void *bytes, size_t length, const char *text, size_t text_length) {
    const uint8_t *at = bytes;
    if (length != text_length) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (at[i] != (uint8_t)text[i]) {
            return false;
        }
    }
    return true;
}

static bool is_text(text_t text, const char *wanted, size_t length) {
    return is(text.bytes, text.length, wanted, length);
}

static uint8_t header_code(const result_t *result) {
    return result->is_error ? *AT(result, 1) : FINE;
}

static uint8_t append(handle_t fields, const char *name, size_t length, const char *value,
                      size_t value_length) {
    result_t result;
    append_field(fields, name, length, value, value_length, &result);
    return header_code(&result);
}

static uint8_t set(handle_t fields, const char *name, size_t length, const text_t *values,
                   size_t count) {
    result_t result;
    set_field(fields, name, length, values, count, &result);
    return header_code(&result);
}

static uint8_t delete(handle_t fields, const char *name, size_t length) {
    result_t result;
    delete_field(fields, name, length, &result);
    return header_code(&result);
}

static size_t count_of(handle_t fields, const char *name, size_t length) {
    text_t found;
    get_fields(fields, name, length, &found);
    return found.length;
}

static uint8_t made_of(const char *name, size_t name_length, const char *value, size_t length) {
    text_t entry[2] = {{(uint8_t *)name, name_length}, {(uint8_t *)value, length}};
    result_t result;
    fields_of(entry, 1, &result);
    if (!result.is_error) {
        drop_fields(result.handle);
    }
    return result.is_error ? *AT(&result, 4) : FINE;
}

static void check_immutable(handle_t fields) {
    CHECK(append(fields, TEXT("new"), TEXT("v")) == IMMUTABLE);
    CHECK(set(fields, TEXT("new"), 0, 0) == IMMUTABLE);
    CHECK(delete(fields, TEXT("new")) == IMMUTABLE);
    CHECK(append(fields, TEXT("not one"), TEXT("v")) == INVALID);
    handle_t copy = clone_fields(fields);
    CHECK(append(copy, TEXT("new"), TEXT("v")) == FINE);
    CHECK(has_field(copy, TEXT("new")) && !has_field(fields, TEXT("new")));
    drop_fields(copy);
    drop_fields(fields);
}

static void check_fields(void) {
    text_t found, bad = {(uint8_t *)"a\n", 2};
    text_t values[2] = {{(uint8_t *)"1", 1}, {(uint8_t *)"2", 1}};
    handle_t fields = new_fields();
    CHECK(append(fields, TEXT("Accept"), TEXT("a")) == FINE);
    CHECK(append(fields, TEXT("b"), TEXT("")) == FINE);
    CHECK(append(fields, TEXT("ACCEPT"), TEXT("c")) == FINE);
    get_fields(fields, TEXT("accepT"), &found);
    const text_t *texts = (const text_t *)found.bytes;
    CHECK(found.length == 2 && is_text(texts[0], TEXT("a")) && is_text(texts[1], TEXT("c")));
    CHECK(count_of(fields, TEXT("missing")) == 0 && count_of(fields, TEXT("not one")) == 0);
    CHECK(has_field(fields, TEXT("B")) && !has_field(fields, TEXT("c")));
    CHECK(!has_field(fields, TEXT("not one")) && !has_field(fields, TEXT("")));
    field_entries(fields, &found);
    texts = (const text_t *)found.bytes;
    CHECK(found.length == 3 && is_text(texts[0], TEXT("accept")) && is_text(texts[2], TEXT("b")) &&
          is_text(texts[4], TEXT("accept")) && is_text(texts[5], TEXT("c")));
    CHECK(set(fields, TEXT("accept"), values, 2) == FINE);
    CHECK(count_of(fields, TEXT("accept")) == 2);
    CHECK(set(fields, TEXT("accept"), &bad, 1) == INVALID);
    CHECK(count_of(fields, TEXT("accept")) == 2); /* nothing was changed */
    CHECK(set(fields, TEXT("accept"), 0, 0) == FINE && !has_field(fields, TEXT("accept")));
    CHECK(set(fields, TEXT("Connection"), values, 1) == FORBIDDEN);
    CHECK(set(fields, TEXT("a b"), values, 1) == INVALID);
    CHECK(delete(fields, TEXT("b")) == FINE && delete(fields, TEXT("b")) == FINE);
    CHECK(delete(fields, TEXT("a b")) == INVALID);
    CHECK(delete(fields, TEXT("Keep-Alive")) == FORBIDDEN);
    field_entries(fields, &found);
    CHECK(found.length == 0);
    CHECK(append(fields, TEXT("tab"), TEXT("a\tb")) == FINE);
    CHECK(append(fields, TEXT("high"), TEXT("\xe9\xff")) == FINE);
    CHECK(append(fields, TEXT("nul"), TEXT("\0")) == INVALID);
    CHECK(append(fields, TEXT("cr"), TEXT("a\r")) == INVALID);
    CHECK(append(fields, TEXT("del"), TEXT("\x7f")) == INVALID);
    CHECK(append(fields, TEXT("caf\xc3\xa9"), TEXT("v")) == INVALID);
    CHECK(append(fields, TEXT("a:"), TEXT("v")) == INVALID);
    drop_fields(fields);
    CHECK(made_of(TEXT("a"), TEXT("b")) == FINE);
    CHECK(made_of(TEXT("a"), TEXT("b\n")) == INVALID);
    CHECK(made_of(TEXT(""), TEXT("b")) == INVALID);
    CHECK(made_of(TEXT("Host"), TEXT("b")) == FORBIDDEN);
}

/* The test sends `BREW http://localhost:8080/request?x=1`. */
static void check_request(handle_t request) {
    result_t result;
    maybe_text_t text;
    request_method(request, &result);
    CHECK(*AT(&result, 0) == 9 && is_text(result.bytes, TEXT("BREW")));
    request_scheme(request, &result);
    CHECK(*AT(&result, 0) == 1 && *AT(&result, 4) == 0);
    request_authority(request, &text);
    CHECK(text.is_some && is_text(text.text, TEXT("localhost:8080")));
    request_path(request, &text);
    CHECK(text.is_some && is_text(text.text, TEXT("/request?x=1")));
    check_immutable(request_headers(request));
    handle_t response = new_response(request_headers(request)); /* a copy: they are the request's */
    handle_t given = given_headers(response);
    CHECK(count_of(given, TEXT("a")) == 1);
    check_immutable(given);
    drop_response(response);
    request_consume(request, &result);
    CHECK(!result.is_error);
    handle_t body = result.handle;
    request_consume(request, &result);
    CHECK(result.is_error);
    body_stream(body, &result);
    CHECK(!result.is_error);
    handle_t stream = result.handle;
    body_stream(body, &result);
    CHECK(result.is_error);
    drop_input(stream);
    handle_t trailers = finish_incoming(body);
    for (;;) {
        handle_t pollable = subscribe_trailers(trailers);
        block_on(pollable);
        CHECK(is_ready(pollable));
        drop_pollable(pollable);
        get_trailers(trailers, &result);
        if (result.is_some) {
            break;
        }
    }
    CHECK(!*AT(&result, 8) && !*AT(&result, 16) && *AT(&result, 24) == 1);
    handle_t fields = WORD_AT(&result, 28);
    CHECK(count_of(fields, TEXT("x-sum")) == 1);
    check_immutable(fields);
    get_trailers(trailers, &result);
    CHECK(result.is_some && *AT(&result, 8) == 1); /* they were taken */
    drop_trailers(trailers);
}

static void check_paths(handle_t request) {
    maybe_text_t text;
    CHECK(set_path(request, 1, TEXT("/a/b?c=%20&d")) == 0);
    sent_path(request, &text);
    CHECK(text.is_some && is_text(text.text, TEXT("/a/b?c=%20&d")));
    CHECK(set_path(request, 1, TEXT("a")) == 1 && set_path(request, 1, TEXT("/a b")) == 1);
    CHECK(set_path(request, 1, TEXT("/a#b")) == 1 && set_path(request, 1, TEXT("/\xc3\xa9")) == 1);
    CHECK(set_path(request, 1, TEXT("/a\r\nx: y")) == 1 && set_path(request, 1, TEXT("**")) == 1);
    sent_path(request, &text);
    CHECK(is_text(text.text, TEXT("/a/b?c=%20&d"))); /* what is refused changes nothing */
    CHECK(set_path(request, 1, TEXT("*")) == 0 && set_path(request, 1, TEXT("?q")) == 0);
    CHECK(set_path(request, 0, TEXT("")) == 0);
    sent_path(request, &text);
    CHECK(!text.is_some);
}

static void check_authorities(handle_t request) {
    maybe_text_t text;
    static const struct {
        const char *text;
        size_t length;
    } unfit[] = {
        {TEXT("")},     {TEXT("a/b")},  {TEXT("a?b")},      {TEXT("a#b")}, {TEXT("a b")},
        {TEXT("a\\b")}, {TEXT("a\nb")}, {TEXT("\xc3\xa9")}, {TEXT("<a>")},
    };
    CHECK(set_authority(request, 1, TEXT("a.org:81")) == 0);
    for (size_t i = 0; i < sizeof(unfit) / sizeof(*unfit); i++) {
        CHECK(set_authority(request, 1, unfit[i].text, unfit[i].length) == 1);
    }
    CHECK(set_authority(request, 1, TEXT("[::1]:80")) == 0);
    sent_authority(request, &text);
    CHECK(text.is_some && is_text(text.text, TEXT("[::1]:80")));
    CHECK(set_authority(request, 0, TEXT("")) == 0);
    sent_authority(request, &text);
    CHECK(!text.is_some);
}

static void check_outgoing(void) {
    result_t result;
    maybe_text_t text;
    handle_t fields = new_fields();
    append(fields, TEXT("a"), TEXT("b"));
    handle_t request = new_request(fields);
    sent_method(request, &result);
    CHECK(*AT(&result, 0) == 0); /* GET */
    sent_path(request, &text);
    CHECK(!text.is_some);
    sent_authority(request, &text);
    CHECK(!text.is_some);
    sent_scheme(request, &result);
    CHECK(!result.is_some);
    check_immutable(sent_headers(request));
    CHECK(set_method(request, 9, TEXT("in valid")) == 1 && set_method(request, 9, TEXT("")) == 1);
    CHECK(set_method(request, 9, TEXT("BREW")) == 0);
    sent_method(request, &result);
    CHECK(*AT(&result, 0) == 9 && is_text(result.bytes, TEXT("BREW")));
    CHECK(set_method(request, 4, 0, 0) == 0);
    sent_method(request, &result);
    CHECK(*AT(&result, 0) == 4); /* DELETE */
    CHECK(set_scheme(request, 1, 2, TEXT("1x")) == 1 && set_scheme(request, 1, 2, TEXT("")) == 1);
    CHECK(set_scheme(request, 1, 2, TEXT("a_b")) == 1);
    CHECK(set_scheme(request, 1, 2, TEXT("git+ssh")) == 0);
    sent_scheme(request, &result);
    CHECK(result.is_some && *AT(&result, 4) == 2);
    CHECK(is((const void *)(uintptr_t)WORD_AT(&result, 8), WORD_AT(&result, 12), TEXT("git+ssh")));
    CHECK(set_scheme(request, 1, 1, 0, 0) == 0);
    sent_scheme(request, &result);
    CHECK(result.is_some && *AT(&result, 4) == 1);
    check_paths(request);
    check_authorities(request);
    request_body(request, &result);
    CHECK(!result.is_error);
    handle_t body = result.handle;
    request_body(request, &result);
    CHECK(result.is_error);
    body_write(body, &result);
    CHECK(!result.is_error);
    handle_t stream = result.handle;
    body_write(body, &result);
    CHECK(result.is_error);
    drop_output(stream);
    drop_outgoing(body);
    drop_sent(request);
}

static void check_options(void) {
    result_t result;
    handle_t options = new_options();
    connect_timeout(options, &result);
    CHECK(!result.is_some);
    byte_timeout(options, &result);
    CHECK(!result.is_some);
    between_timeout(options, &result);
    CHECK(!result.is_some);
    CHECK(set_connect_timeout(options, 1, 1) == 0 && set_byte_timeout(options, 1, 2) == 0);
    CHECK(set_between_timeout(options, 1, UINT64_MAX) == 0);
    connect_timeout(options, &result);
    CHECK(result.is_some && LONG_AT(&result, 8) == 1);
    byte_timeout(options, &result);
    CHECK(result.is_some && LONG_AT(&result, 8) == 2);
    between_timeout(options, &result);
    CHECK(result.is_some && LONG_AT(&result, 8) == UINT64_MAX);
    CHECK(set_byte_timeout(options, 0, 0) == 0);
    byte_timeout(options, &result);
    CHECK(!result.is_some);
    drop_options(options);
}

static void check_response(void) {
    result_t result;
    handle_t fields = new_fields();
    append(fields, TEXT("content-length"), TEXT("3"));
    handle_t response = new_response(fields);
    CHECK(given_status(response) == 200);
    CHECK(set_status(response, 99) == 1 && set_status(response, 1000) == 1);
    CHECK(given_status(response) == 200 && set_status(response, 999) == 0);
    CHECK(given_status(response) == 999);
    check_immutable(given_headers(response));
    response_body(response, &result);
    CHECK(!result.is_error);
    handle_t body = result.handle;
    response_body(response, &result);
    CHECK(result.is_error);
    body_write(body, &result);
    handle_t stream = result.handle;
    check_write(stream, &result);
    CHECK(!result.is_error && LONG_AT(&result, 8) > 0);
    write_some(stream, TEXT("12"), &result);
    CHECK(!result.is_error);
    write_some(stream, TEXT("34"), &result);
    CHECK(result.is_error && *AT(&result, 4) == 0);
    handle_t error = WORD_AT(&result, 8);
    http_error_code(error, &result);
    /* some(HTTP-response-body-size(some(4))) */
    CHECK(result.is_some && *AT(&result, 8) == 28 && *AT(&result, 16) && LONG_AT(&result, 24) == 4);
    drop_output(stream);
    finish_body(body, 0, 0, &result);
    CHECK(result.is_error && *AT(&result, 8) == 28);
    CHECK(*AT(&result, 16) && LONG_AT(&result, 24) == 2);
    drop_response(response);
}

static handle_t begin(const char *path, size_t length, uint8_t *code) {
    result_t result;
    handle_t request = new_request(new_fields());
    set_authority(request, 1, TEXT("upstream.test"));
    set_path(request, 1, path, length);
    send_request(request, 0, 0, &result);
    *code = result.is_error ? *AT(&result, 8) : 255;
    return result.is_error ? 0 : WORD_AT(&result, 8);
}

/* The test answers when this asks for `/second`. */
static void check_future(void) {
    result_t result;
    uint8_t code;
    handle_t future = begin(TEXT("/first"), &code);
    future_get(future, &result);
    CHECK(!result.is_some);
    handle_t pollable = subscribe_future(future);
    CHECK(!is_ready(pollable));
    handle_t second = begin(TEXT("/second"), &code);
    block_on(pollable);
    CHECK(is_ready(pollable));
    drop_pollable(pollable);
    future_get(future, &result);
    CHECK(result.is_some && !*AT(&result, 8) && !*AT(&result, 16));
    handle_t response = WORD_AT(&result, 24);
    future_get(future, &result);
    CHECK(result.is_some && *AT(&result, 8)); /* it was taken */
    CHECK(answer_status(response) == 200);
    check_immutable(answer_headers(response));
    answer_consume(response, &result);
    CHECK(!result.is_error);
    handle_t body = result.handle;
    answer_consume(response, &result);
    CHECK(result.is_error);
    drop_answer(response); /* its body lives on */
    body_stream(body, &result);
    handle_t stream = result.handle;
    read_some(stream, 100, &result);
    CHECK(!result.is_error && is_text(result.bytes, TEXT("text")));
    read_some(stream, 100, &result);
    CHECK(result.is_error && *AT(&result, 4) == 0);
    handle_t error = WORD_AT(&result, 8);
    http_error_code(error, &result);
    /* some(HTTP-response-body-size(some(5000))), which the test has the host say */
    CHECK(result.is_some && *AT(&result, 8) == 28);
    CHECK(*AT(&result, 16) && LONG_AT(&result, 24) == 5000);
    read_some(stream, 100, &result);
    CHECK(result.is_error && *AT(&result, 4) == 1); /* closed from now on */
    drop_input(stream);
    drop_incoming(body);
    drop_future(future);
    drop_future(second);
}

/* The test answers `/N` with an error-code and what belongs to it. */
static void check_details(void) {
    static const char paths[][3] = {"/1", "/2", "/3", "/4", "/5"};
    result_t result;
    uint8_t code;
    const uint8_t *error = AT(&result, 24); /* some(ok(err(error-code))) */
    for (size_t i = 0; i < 5; i++) {
        handle_t future = begin(paths[i], 2, &code);
        if (i == 4) {
            CHECK(future == 0 && code == 38); /* refused at once */
            break;
        }
        handle_t pollable = subscribe_future(future);
        block_on(pollable);
        drop_pollable(pollable);
        future_get(future, &result);
        CHECK(result.is_some && !*AT(&result, 8) && *AT(&result, 16));
        switch (i) {
        case 0:
            CHECK(error[0] == 1 && error[8] == 1 && error[20] == 0);
            CHECK(is((const void *)(uintptr_t)WORD_AT(error, 12), WORD_AT(error, 16),
                     TEXT("NXDOMAIN")));
            break;
        case 1:
            CHECK(error[0] == 14 && error[8] == 1 && error[9] == 40 && error[12] == 1);
            CHECK(is((const void *)(uintptr_t)WORD_AT(error, 16), WORD_AT(error, 20),
                     TEXT("handshake_failure")));
            break;
        case 2:
            CHECK(error[0] == 26 && error[8] == 1 && WORD_AT(error, 12) == 70000);
            break;
        case 3:
            CHECK(error[0] == 38 && error[8] == 1);
            CHECK(is((const void *)(uintptr_t)WORD_AT(error, 12), WORD_AT(error, 16),
                     TEXT("\xc5\xbelu\xc5\xa5\nas it is")));
            break;
        default:
            break;
        }
        drop_future(future);
    }
}

/* Ask with all time-outs; the test looks at them, and refuses. */
static void check_timeouts(void) {
    result_t result;
    handle_t request = new_request(new_fields()), options = new_options();
    set_authority(request, 1, TEXT("upstream.test"));
    set_path(request, 1, TEXT("/5"));
    set_connect_timeout(options, 1, 1500000000);
    set_byte_timeout(options, 1, 2000000000);
    set_between_timeout(options, 1, 0);
    send_request(request, 1, options, &result);
    CHECK(result.is_error);
}

/* Write and finish a body with trailers before the request is sent. */
static void check_early_body(void) {
    result_t result;
    handle_t request = new_request(new_fields()), trailers = new_fields();
    set_authority(request, 1, TEXT("upstream.test"));
    set_path(request, 1, TEXT("/early"));
    append(trailers, TEXT("x-sum"), TEXT("3"));
    request_body(request, &result);
    handle_t body = result.handle;
    body_write(body, &result);
    handle_t stream = result.handle;
    write_and_flush(stream, TEXT("abc"), &result);
    CHECK(!result.is_error);
    drop_output(stream);
    finish_body(body, 1, trailers, &result);
    CHECK(!result.is_error);
    send_request(request, 0, 0, &result);
    CHECK(!result.is_error);
    handle_t future = WORD_AT(&result, 8), pollable = subscribe_future(future);
    block_on(pollable);
    drop_pollable(pollable);
    drop_future(future);
}

/* Give up the body of a request that was not sent: it cannot be sent any more. */
static void check_lost_body(void) {
    result_t result;
    handle_t request = new_request(new_fields());
    set_authority(request, 1, TEXT("upstream.test"));
    request_body(request, &result);
    drop_outgoing(result.handle);
    send_request(request, 0, 0, &result);
    CHECK(result.is_error && *AT(&result, 8) == 35); /* HTTP-protocol-error */
}

/* Wait for a stream that comes, one that goes, an answer and a timer, all at once. The test sends
 * the body when this asks for `/first`, and answers that never.
 */
static void check_poll(handle_t request, handle_t output) {
    result_t result;
    text_t ready;
    uint8_t code;
    request_consume(request, &result);
    handle_t body = result.handle;
    body_stream(body, &result);
    handle_t input = result.handle, future = begin(TEXT("/first"), &code);
    handle_t waited[] = {
        subscribe_input(input), subscribe_future(future), subscribe_duration(1000000000000),
        subscribe_output(output), subscribe_duration(0),
    };
    poll(waited, 5, &ready);
    const uint32_t *places = (const uint32_t *)ready.bytes;
    CHECK(ready.length >= 2 && places[ready.length - 2] == 3 && places[ready.length - 1] == 4);
    poll(waited, 3, &ready);
    CHECK(ready.length == 1 && ((const uint32_t *)ready.bytes)[0] == 0);
    CHECK(is_ready(waited[0]) && !is_ready(waited[1]) && !is_ready(waited[2]));
    read_some(input, 100, &result);
    CHECK(!result.is_error && is_text(result.bytes, TEXT("body")));
    for (size_t i = 0; i < 5; i++) {
        drop_pollable(waited[i]);
    }
    drop_future(future);
    drop_input(input);
    drop_incoming(body);
}

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(handle_t request, handle_t out) {
    maybe_text_t target;
    result_t result;
    failed_line = 0;
    request_path(request, &target);
    handle_t response = new_response(new_fields());
    response_body(response, &result);
    handle_t body = result.handle;
    set_response(out, 0, response, 0, 0, 0, 0, 0, 0);
    body_write(body, &result);
    handle_t stream = result.handle;
    switch (target.text.bytes[1]) {
    case 'f':
        check_fields();
        break;
    case 'r':
        check_request(request);
        break;
    case 'o':
        check_outgoing();
        check_options();
        check_response();
        break;
    case 'a':
        check_future();
        break;
    case 'd':
        check_details();
        break;
    case 't':
        check_timeouts();
        break;
    case 'e':
        check_early_body();
        check_lost_body();
        break;
    case 'p':
        check_poll(request, stream);
        break;
    default:
        failed_line = __LINE__;
        break;
    }
    uint8_t digits[4];
    for (size_t i = 4; i-- > 0; failed_line /= 10) {
        digits[i] = (uint8_t)('0' + failed_line % 10);
    }
    write_and_flush(stream, digits, sizeof(digits), &result);
    drop_output(stream);
    finish_body(body, 0, 0, &result);
    drop_request(request);
    memory_end();
}
