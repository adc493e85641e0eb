/* Asking another server: what guests that send requests share. */
#ifndef ASKING_H
#define ASKING_H

#include "web.h"

static uint8_t said[4096];
static size_t said_length;

static void say_bytes(const uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < length && said_length < sizeof(said); i++) {
        said[said_length++] = bytes[i];
    }
}

static void say_decimal(uint64_t number) {
    if (number >= 10) {
        say_decimal(number / 10);
    }
    uint8_t digit = (uint8_t)('0' + number % 10);
    say_bytes(&digit, 1);
}

static text_t said_error(uint8_t code) {
    say_bytes((const uint8_t *)TEXT("error "));
    say_decimal(code);
    return (text_t){said, said_length};
}

/* Return the status and the body of what a server answers, or the number of an error-code. */
static text_t ask(text_t authority, text_t path) {
    result_t result;
    said_length = 0;
    handle_t request = new_request(new_fields());
    set_scheme(request, 1, 0, 0, 0);
    set_authority(request, 1, (const char *)authority.bytes, authority.length);
    set_path(request, 1, (const char *)path.bytes, path.length);
    send_request(request, 0, 0, &result);
    const uint8_t *at = (const uint8_t *)&result;
    if (result.is_error) {
        return said_error(at[8]);
    }
    handle_t future = *(const handle_t *)(at + 8), pollable = subscribe_future(future);
    block_on(pollable);
    drop_pollable(pollable);
    future_get(future, &result);
    drop_future(future);
    if (at[16]) {
        return said_error(at[24]);
    }
    handle_t response = *(const handle_t *)(at + 24);
    say_decimal(answer_status(response));
    say_bytes((const uint8_t *)TEXT(" "));
    answer_consume(response, &result);
    handle_t body = result.handle;
    body_stream(body, &result);
    handle_t stream = result.handle;
    for (;;) {
        read_some(stream, 4096, &result);
        if (result.is_error) {
            break;
        }
        say_bytes(result.bytes.bytes, result.bytes.length);
    }
    drop_input(stream);
    drop_incoming(body);
    drop_answer(response);
    return (text_t){said, said_length};
}

#endif
