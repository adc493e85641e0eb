/* Does by path what no guest may do with a request, or what is not expected of one. */
#include "web.h"

TYPES("http-error-code") extern void http_error_code(handle_t, result_t *);
TYPES("[method]outgoing-response.headers") extern handle_t response_headers(handle_t);
IMPORT("wasi:cli/exit@0.2.0", "exit") extern void exit(uint32_t);

static uint8_t block[65536];
static handle_t kept; /* the outparam of an earlier request */

static bool is(text_t path, const char *name, size_t length) {
    if (path.length < length || (path.length > length && path.bytes[length] != '?')) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (path.bytes[i] != (uint8_t)name[i]) {
            return false;
        }
    }
    return true;
}

static uint32_t number_after(text_t path) {
    uint32_t number = 0;
    for (size_t i = 0; i < path.length; i++) {
        bool is_digit = path.bytes[i] >= '0' && path.bytes[i] <= '9';
        number = is_digit ? number * 10 + path.bytes[i] - '0' : 0;
    }
    return number;
}

static void give(handle_t out, handle_t response) {
    set_response(out, 0, response, 0, 0, 0, 0, 0, 0);
}

static handle_t body_of(handle_t response) {
    result_t result;
    response_body(response, &result);
    return result.handle;
}

static handle_t stream_of(handle_t body) {
    result_t result;
    body_write(body, &result);
    return result.handle;
}

static bool say(handle_t stream, const void *bytes, size_t length) {
    result_t result;
    write_and_flush(stream, bytes, length, &result);
    return !result.is_error;
}

static void end(handle_t body) {
    result_t result;
    finish_body(body, 0, 0, &result);
}

static handle_t response_of(const char *name, size_t name_length, const char *value,
                            size_t length) {
    result_t result;
    handle_t fields = new_fields();
    append_field(fields, name, name_length, value, length, &result);
    return new_response(fields);
}

/* Announce a length and write so much. */
static void write_length(handle_t out, const char *announced, size_t digits, size_t length) {
    handle_t response = response_of(TEXT("content-length"), announced, digits);
    handle_t body = body_of(response);
    give(out, response);
    handle_t stream = stream_of(body);
    say(stream, "0123456789", length);
    drop_output(stream);
    end(body);
}

/* Write until nobody takes anything any more. */
static void endless(handle_t out) {
    handle_t response = new_response(new_fields()), body = body_of(response);
    give(out, response);
    handle_t stream = stream_of(body);
    while (say(stream, block, 4096)) {
    }
    drop_output(stream);
    end(body);
}

/* Answer with as many fields as one may have, and say how many that are. */
static void many_fields(handle_t out) {
    result_t result = {0};
    handle_t fields = new_fields();
    uint32_t count = 0;
    while (count < 10000 && !result.is_error) {
        append_field(fields, TEXT("x"), TEXT("y"), &result);
        count += !result.is_error;
    }
    handle_t response = new_response(fields);
    set_status(response, 200 + count / 512);
    give(out, response);
}

/* Give an error; what its details mean depends on it. */
static void give_error(handle_t out, uint32_t code) {
    switch (code) {
    case 1: /* DNS-error: text, number */
        set_response(out, 1, code, 1, (uintptr_t) "NXDOMAIN", 8, 1, 7, 0);
        break;
    case 14: /* TLS-alert-received: number, text */
        set_response(out, 1, code, 1, 40, 1, (uint32_t)(uintptr_t) "handshake_failure", 17, 0);
        break;
    case 17: /* HTTP-request-body-size: number of 64 bits */
        set_response(out, 1, code, 1, 5000000000, 0, 0, 0, 0);
        break;
    case 21: /* HTTP-request-header-section-size: number */
        set_response(out, 1, code, 1, 70000, 0, 0, 0, 0);
        break;
    case 22: /* HTTP-request-header-size: some, text, number */
        set_response(out, 1, code, 1, 1, (uint32_t)(uintptr_t) "cookie", 6, 1, 9000);
        break;
    case 30: /* HTTP-response-trailer-size: text, number */
        set_response(out, 1, code, 1, (uintptr_t) "x-sum", 5, 1, 9000, 0);
        break;
    case 31: /* HTTP-response-transfer-coding: text */
    case 38: /* internal-error: text */
        set_response(out, 1, code, 1, (uintptr_t) "oops \xc5\xbe", 7, 0, 0, 0);
        break;
    default:
        set_response(out, 1, code, 0, 0, 0, 0, 0, 0);
        break;
    }
}

/* Begin an answer, read the body until that fails, and say with which error-code. */
static void say_why(handle_t request, handle_t out) {
    result_t result;
    handle_t response = new_response(new_fields()), body = body_of(response);
    give(out, response);
    handle_t stream = stream_of(body);
    request_consume(request, &result);
    handle_t incoming = result.handle;
    body_stream(incoming, &result);
    handle_t input = result.handle;
    do {
        read_some(input, 4096, &result);
    } while (!result.is_error);
    uint8_t digits[2] = {'-', '-'};
    const uint8_t *at = (const uint8_t *)&result;
    if (at[4] == 0) { /* not the end */
        http_error_code(*(const handle_t *)(at + 8), &result);
        digits[0] = (uint8_t)('0' + at[8] / 10);
        digits[1] = (uint8_t)('0' + at[8] % 10);
    }
    drop_input(input);
    drop_incoming(incoming);
    say(stream, digits, sizeof(digits));
    drop_output(stream);
    end(body);
}

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(handle_t request, handle_t out) {
    maybe_text_t target;
    result_t result;
    request_path(request, &target);
    text_t path = target.text;
    uint32_t number = number_after(path);
    handle_t response = new_response(new_fields());
    if (is(path, TEXT("/trap"))) {
        __builtin_trap();
    } else if (is(path, TEXT("/half-trap"))) {
        handle_t body = body_of(response);
        give(out, response);
        handle_t stream = stream_of(body), pollable = subscribe_duration(1);
        say(stream, TEXT("half"));
        block_on(pollable);
        __builtin_trap();
    } else if (is(path, TEXT("/never"))) {
        for (;;) {
            block_on(subscribe_duration(1000000000000));
        }
    } else if (is(path, TEXT("/twice"))) {
        give(out, response);
        give(out, new_response(new_fields()));
    } else if (is(path, TEXT("/keep"))) {
        kept = out;
    } else if (is(path, TEXT("/late"))) {
        give(kept, response);
    } else if (is(path, TEXT("/inform-late"))) {
        give(out, response);
        inform(out, 103, new_fields(), &result);
    } else if (is(path, TEXT("/exit"))) {
        give(out, response);
        exit(number);
    } else if (is(path, TEXT("/shorter"))) {
        write_length(out, TEXT("8"), 3);
    } else if (is(path, TEXT("/longer"))) {
        write_length(out, TEXT("3"), 8);
    } else if (is(path, TEXT("/no-length"))) {
        write_length(out, TEXT("many"), 0);
    } else if (is(path, TEXT("/announced"))) {
        write_length(out, TEXT("10"), number);
    } else if (is(path, TEXT("/not-modified"))) {
        handle_t unmodified = response_of(TEXT("content-length"), TEXT("10"));
        set_status(unmodified, 304);
        handle_t body = body_of(unmodified);
        give(out, unmodified);
        end(body);
    } else if (is(path, TEXT("/why"))) {
        say_why(request, out);
    } else if (is(path, TEXT("/endless"))) {
        endless(out);
    } else if (is(path, TEXT("/many-fields"))) {
        many_fields(out);
    } else if (is(path, TEXT("/status"))) {
        set_status(response, number);
        give(out, response);
    } else if (is(path, TEXT("/error"))) {
        give_error(out, number);
    } else if (is(path, TEXT("/headers-outlive-request"))) {
        request_headers(request);
        drop_request(request);
    } else if (is(path, TEXT("/headers-outlive-response"))) {
        response_headers(response);
        give(out, response);
    } else if (is(path, TEXT("/stream-outlives-body"))) {
        request_consume(request, &result);
        handle_t body = result.handle;
        body_stream(body, &result);
        drop_incoming(body);
    } else if (is(path, TEXT("/stream-outlives-finish"))) {
        handle_t body = body_of(response);
        stream_of(body);
        end(body);
    } else if (is(path, TEXT("/stream-outlives-outgoing"))) {
        handle_t body = body_of(response);
        stream_of(body);
        drop_outgoing(body);
    } else if (is(path, TEXT("/after-drop"))) {
        handle_t stream = stream_of(body_of(response));
        drop_output(stream);
        say(stream, TEXT("x"));
    } else if (is(path, TEXT("/grow"))) {
        while (__builtin_wasm_memory_grow(0, 16) != SIZE_MAX) {
        }
        __builtin_trap();
    } else if (is(path, TEXT("/spin"))) {
        for (volatile uint32_t turns = 1; turns != 0; turns++) {
            turns |= 1;
        }
    } else if (is(path, TEXT("/hoard"))) {
        for (;;) {
            handle_t fields = new_fields();
            append_field(fields, TEXT("x"), (const char *)block, 0, &result);
            for (size_t i = 0; i < sizeof(block); i++) {
                block[i] = 'x';
            }
            append_field(fields, TEXT("y"), (const char *)block, sizeof(block), &result);
        }
    } else {
        set_status(response, 204);
        give(out, response);
    }
    memory_end();
}
