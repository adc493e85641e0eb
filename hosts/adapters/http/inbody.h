/* Bodies that come in: of the request that is answered, and of answers to own requests.
 *
 * A small one came with its head and lies in the heap; else the host has what has come. Part of
 * `streams.h`, whose input streams read them.
 */
#ifndef INBODY_H
#define INBODY_H

#include "errors.h"
#include "fetches.h"

enum { OF_TRAILERS = 3 }; /* what of a body is waited for, besides those of sockets */

#define BODY_READ_BYTES_MAX (256u * 1024) /* one reading of a body that the host has */

typedef struct inbody {
    uint32_t users;
    uint32_t number; /* the host's */
    fetch_t *fetch;  /* whose answer it is, or NULL */
    text_t rest;     /* what is left of a body that came with its head */
    uint8_t *block;  /* where that lies */
    bool is_inline;
    bool is_over; /* its request has been answered: there is no more to read */
    bool has_stream;
    bool is_streaming; /* the stream was not dropped yet */
    bool has_failed;   /* the guest was told so: from now on the stream is closed */
} inbody_t;

static inbody_t *make_inbody(uint32_t number, fetch_t *fetch) {
    inbody_t *body = heap_zeroed(sizeof(inbody_t));
    body->users = 1;
    body->number = number;
    body->fetch = fetch == NULL ? NULL : fetch_share(fetch);
    return body;
}

static inbody_t *inbody_share(inbody_t *body) {
    body->users++;
    return body;
}

static void inbody_leave(inbody_t *body) {
    if (body != NULL && --body->users == 0) {
        fetch_leave(body->fetch);
        heap_give(body->block);
        heap_give(body);
    }
}

static written_t http_failure(failure_t failure) {
    error_t *error = cell_take();
    error->code = failure.code;
    error->is_of_http = 1;
    error->has_number = failure.has_number;
    error->number = failure.number;
    error->text = failure.has_text ? text_copy(failure.text) : (text_t){0};
    return (written_t){.is_error = 1, .error = error_new(error)};
}

/* The stream of a body is dropped. */
static void inbody_unstream(inbody_t *body) {
    if (body != NULL) {
        body->is_streaming = false;
        inbody_leave(body);
    }
}

static const written_t closed = {.is_error = 1, .is_closed = 1};

/* Read into scratch, or point to what lies in the heap; see `read_bytes`. */
static bool read_body(inbody_t *body, uint64_t length, bool is_blocking, text_t *bytes,
                      written_t *failure) {
    if (body->is_inline && body->rest.length > 0) {
        size_t taken = length < body->rest.length ? (size_t)length : body->rest.length;
        *bytes = (text_t){body->rest.bytes, taken};
        body->rest.bytes += taken;
        body->rest.length -= taken;
        return true;
    }
    if (body->is_inline || body->is_over || body->has_failed) {
        *failure = closed;
        return false;
    }
    if (is_blocking) {
        wait_for(body->number, OF_RECEIVING);
    }
    text_t frame;
    uint64_t most = length < BODY_READ_BYTES_MAX ? length : BODY_READ_BYTES_MAX;
    host_body_receive(body->number, (uint32_t)most, &frame);
    uint8_t kind = frame.length == 0 ? 'e' : frame.bytes[0];
    switch (kind) {
    case 'e':
        *failure = closed;
        return false;
    case '!':
        body->has_failed = true;
        *failure = http_failure(failure_behind_mark(frame));
        return false;
    case 'w':
        return true;
    default:
        *bytes = bulk_decode(frame);
        return true;
    }
}

static handle_t inbody_subscribe(const inbody_t *body) {
    bool is_ready = body->is_inline || body->is_over;
    return is_ready ? make_pollable(0) : make_interest(body->number, OF_RECEIVING);
}

#endif
