/* The host's functions for bodies and heads (`wit/host.wit`), and lines of text. */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include "frames.h"
#include "heap.h"

#define EXCHANGE(name) IMPORT("lattice:http-host/exchange@0.1.0", name)

EXCHANGE("receive")
extern void host_body_receive(uint32_t number, uint32_t length, text_t *result);
EXCHANGE("skip") extern void host_body_skip(uint32_t number);
EXCHANGE("trailers") extern void host_body_trailers(uint32_t number, text_t *result);
EXCHANGE("offered") extern uint64_t host_body_offered(uint32_t number);
EXCHANGE("send")
extern void host_body_send(uint32_t number, const uint8_t *bytes, size_t length);
EXCHANGE("finish")
extern void host_body_finish(uint32_t number, const uint8_t *bytes, size_t length);
EXCHANGE("abort") extern void host_body_abort(uint32_t number);
EXCHANGE("begin") extern void host_begin(const uint8_t *bytes, size_t length);
EXCHANGE("inform") extern void host_inform(const uint8_t *bytes, size_t length);
EXCHANGE("fetch")
extern void host_fetch(const uint8_t *bytes, size_t length, text_t *result);
EXCHANGE("answer") extern void host_answer(uint32_t number, text_t *result);
EXCHANGE("forget") extern void host_forget(uint32_t number);

#define IS_ERROR ((uint64_t)1 << 32) /* set in what the host answers when the rest is an error */

/* ---- lines -------------------------------------------------------------------------------- */

/* Take the next line off a text; what it points to is not copied. */
static text_t take_line(text_t *text) {
    size_t length = 0;
    while (length < text->length && text->bytes[length] != '\n') {
        length++;
    }
    text_t line = {text->bytes, length};
    size_t taken = length < text->length ? length + 1 : length;
    text->bytes += taken;
    text->length -= taken;
    return line;
}

/* Return the number that a line of digits says; 0 without any. */
static uint64_t number_in(text_t line) {
    uint64_t number = 0;
    for (size_t i = 0; i < line.length && line.bytes[i] >= '0' && line.bytes[i] <= '9'; i++) {
        number = number * 10 + (line.bytes[i] - '0');
    }
    return number;
}

static uint8_t *put_bytes(uint8_t *out, const uint8_t *bytes, size_t length) {
    __builtin_memcpy(out, bytes, length);
    return out + length;
}

static uint8_t *put_line(uint8_t *out, text_t line) {
    out = put_bytes(out, line.bytes, line.length);
    *out++ = '\n';
    return out;
}

#define DIGITS_MAX 20u

static uint8_t *put_number(uint8_t *out, uint64_t number) {
    uint8_t digits[DIGITS_MAX];
    size_t count = 0;
    do {
        digits[count++] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0) {
        *out++ = digits[--count];
    }
    return out;
}

/* Return a copy of a text in the heap. */
static text_t text_copy(text_t text) {
    uint8_t *bytes = heap_take(text.length);
    __builtin_memcpy(bytes, text.bytes, text.length);
    return (text_t){bytes, text.length};
}

#endif
