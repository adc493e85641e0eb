/* Bodies that go out: of the answer, and of own requests. Part of `output.h`.
 *
 * What is written is kept back while it is little, so that a small answer travels with its head. It
 * leaves when it becomes more, when the guest waits for anything, and when it is flushed again and
 * again over some time. Then it is sent in parts of that size, as the host takes them; the body of an
 * own request is not kept back once the host has its head.
 */
#ifndef OUTBODY_H
#define OUTBODY_H

#include "inbody.h"

#define KEPT_BYTES_MAX (64u * 1024)         /* of a body whose head may leave */
#define UNSENT_BYTES_MAX (1024u * 1024)     /* of one whose head is not there yet */
#define FLUSH_NS 5000000u                   /* so long may flushed bytes be kept back */
#define KEPT_BYTES_FIRST 248u
#define UNKNOWN_LENGTH UINT64_MAX

typedef struct outbody {
    uint32_t users;
    uint32_t number; /* the host's; valid when begun */
    fetch_t *fetch;  /* whose body it is, or NULL */
    fields_t *trailers; /* of a finished one that has not begun, or NULL */
    uint8_t *kept;
    uint32_t length, capacity; /* of `kept` */
    uint64_t written, expected;
    uint64_t flushed_at; /* 0: not flushed twice yet */
    bool is_of_request;
    bool is_begun; /* the host has the head */
    bool is_finished;
    bool is_over; /* its answer is complete or given up: nothing more is taken */
    bool is_full; /* the host took a part and offered to take no more */
    bool has_stream;
    bool is_streaming; /* the stream was not dropped yet */
    bool was_flushed;
} outbody_t;

/* Tell the host the head of an answer, if the guest has given one; defined with the bridge. */
static bool begin_answer(void);

static outbody_t *make_outbody(bool is_of_request, uint64_t expected) {
    outbody_t *body = heap_zeroed(sizeof(outbody_t));
    body->users = 1;
    body->is_of_request = is_of_request;
    body->expected = expected;
    return body;
}

static outbody_t *outbody_share(outbody_t *body) {
    body->users++;
    return body;
}

static void outbody_leave(outbody_t *body) {
    if (body != NULL && --body->users == 0) {
        fetch_leave(body->fetch);
        fields_leave(body->trailers);
        heap_give(body->kept);
        heap_give(body);
    }
}

/* The stream of a body is dropped. */
static void outbody_unstream(outbody_t *body) {
    if (body != NULL) {
        body->is_streaming = false;
        outbody_leave(body);
    }
}

/* What goes wrong when a body has not the length that was announced: the length it has. */
static failure_t size_failure(const outbody_t *body, uint64_t length) {
    uint8_t code = body->is_of_request ? HTTP_REQUEST_BODY_SIZE : HTTP_RESPONSE_BODY_SIZE;
    return failure_with(code, length);
}

static failure_t unsent_failure(void) {
    static const char reason[] = "more than 1 MiB of a body was written before its head was sent";
    failure_t result = failure(HTTP_INTERNAL_ERROR);
    result.has_text = true;
    result.text = TEXT(reason);
    return result;
}

/* Return the length that a `content-length` says, UNKNOWN_LENGTH without one. */
static uint64_t expected_length(const fields_t *fields) {
    const field_t *field = fields_find(fields, TEXT("content-length"));
    return field == NULL ? UNKNOWN_LENGTH : number_in(field->value);
}

static void keep(outbody_t *body, const uint8_t *bytes, size_t length) {
    uint32_t needed = body->length + (uint32_t)length;
    if (needed > body->capacity) {
        uint32_t capacity = body->capacity == 0 ? KEPT_BYTES_FIRST : 2 * body->capacity + 8;
        while (capacity < needed) {
            capacity = 2 * capacity + 8; /* with the block's header again a power of two */
        }
        uint8_t *kept = heap_take(capacity);
        __builtin_memcpy(kept, body->kept, body->length);
        heap_give(body->kept);
        body->kept = kept;
        body->capacity = capacity;
    }
    __builtin_memcpy(body->kept + body->length, bytes, length);
    body->length = needed;
}

/* Give the host a part of a body that has begun. */
static void send_part(const outbody_t *body, const uint8_t *bytes, size_t length) {
    if (length > 0) {
        text_t frame = bulk_encode(bytes, length);
        host_body_send(body->number, frame.bytes, frame.length);
    }
}

/* Give the host what was kept back. */
static void send_kept(outbody_t *body) {
    if (body->length > 0) {
        send_part(body, body->kept, body->length);
        body->length = 0;
        body->is_full = host_body_offered(body->number) == 0;
    }
}

/* The host has the head now: give it what was kept back. */
static void begin_body(outbody_t *body, uint32_t number) {
    body->number = number;
    body->is_begun = true;
    send_kept(body);
}

/* Make the host have the head, if it may. */
static bool is_begun(const outbody_t *body) {
    return body->is_begun || (!body->is_of_request && begin_answer());
}

/* Tell what a body takes now; see `ask_offer`. */
static written_t offer_body(outbody_t *body, bool is_blocking, uint64_t *offer) {
    *offer = 0;
    if (body->is_over || body->is_finished) {
        return closed;
    }
    bool is_keeping = !body->is_begun || !(body->is_of_request || body->is_full);
    if (is_keeping && body->length < KEPT_BYTES_MAX) {
        *offer = KEPT_BYTES_MAX - body->length;
        return (written_t){0};
    }
    if (!is_begun(body)) {
        *offer = UNSENT_BYTES_MAX - body->length;
        return *offer > 0 ? (written_t){0} : http_failure(unsent_failure());
    }
    send_kept(body);
    if (is_blocking) {
        wait_for(body->number, OF_SENDING);
    }
    uint64_t offered = host_body_offered(body->number);
    if (offered & IS_ERROR) {
        body->is_over = true;
        return http_failure(failure((uint8_t)offered));
    }
    body->is_full = offered == 0;
    *offer = body->is_of_request || offered == 0 ? offered : KEPT_BYTES_MAX;
    return (written_t){0};
}

static written_t write_body(outbody_t *body, const uint8_t *bytes, size_t length) {
    if (body->is_over || body->is_finished) {
        return closed;
    }
    if (length > body->expected - body->written) {
        body->is_over = true;
        return http_failure(size_failure(body, body->written + length));
    }
    body->written += length;
    bool is_keeping = !body->is_begun || !body->is_of_request;
    if (is_keeping && body->length + length <= KEPT_BYTES_MAX) {
        keep(body, bytes, length);
    } else if (is_begun(body)) {
        send_kept(body);
        send_part(body, bytes, length);
    } else if (body->length + length <= UNSENT_BYTES_MAX) {
        keep(body, bytes, length);
    } else {
        return http_failure(unsent_failure());
    }
    return (written_t){0};
}

/* Take note that the guest wants what it wrote to leave. The first time costs nothing: most guests
 * write all at once. Later ones look at the clock.
 */
static void flush_body(outbody_t *body) {
    if (body->is_of_request || body->is_over) {
        return;
    }
    if (!body->was_flushed) {
        body->was_flushed = true;
    } else if (body->flushed_at == 0) {
        body->flushed_at = host_monotonic_now();
    } else if (host_monotonic_now() - body->flushed_at > FLUSH_NS) {
        before_waiting();
        body->flushed_at = 0;
    }
}

static handle_t outbody_subscribe(const outbody_t *body) {
    bool has_number = body->is_begun || !body->is_of_request;
    return has_number ? make_interest(body->number, OF_SENDING) : make_pollable(0);
}

#endif
