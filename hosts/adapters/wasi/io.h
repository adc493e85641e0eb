/* wasi:io: errors and pollables; and the files and sockets that other resources share.
 *
 * A pollable is an instant of the monotonic clock, or something of a socket; what is always ready
 * has the instant 0. Waiting for any number of them is one call of the host, which suspends the
 * guest.
 */
#ifndef IO_H
#define IO_H

#include "host.h"
#ifdef HAS_HTTP
#include "../http/heap.h"
#endif

#define IO_ERROR "wasi:io/error@0.2.12"
#define IO_POLL "wasi:io/poll@0.2.12"

typedef uint32_t handle_t;

/* An open file or directory of the host, shared by descriptors and streams. */
typedef struct {
    uint32_t number;
    uint32_t users;
    uint8_t flags; /* descriptor-flags */
} file_t;

_Static_assert(sizeof(file_t) <= CELL_BYTES, "fits a cell");

/* A socket of the host, shared by a tcp-socket and its streams. */
typedef struct {
    uint32_t number;
    uint32_t users;
    uint8_t is_ipv6;
} socket_t;

/* What of a socket or lookup is waited for; see `is-ready` of the host. */
enum { OF_STATE, OF_RECEIVING, OF_SENDING, INTERESTS = 4 };

typedef struct {
    uint64_t instant;
    uint32_t interest; /* 0: the instant counts */
} pollable_t;

typedef struct {
    uint8_t code; /* error-code of wasi:filesystem, or of wasi:sockets */
    uint8_t is_of_socket;
#ifdef HAS_HTTP
    uint8_t is_of_http; /* the code is one of wasi:http, and the rest its details */
    uint8_t has_number;
    uint64_t number;
    text_t text; /* in the heap; no bytes: there is none */
#endif
} error_t;

_Static_assert(sizeof(error_t) <= CELL_BYTES, "fits a cell");

IMPORT("[export]" IO_ERROR, "[resource-new]error") extern handle_t error_new(error_t *rep);
IMPORT("[export]" IO_POLL, "[resource-new]pollable") extern handle_t pollable_new(pollable_t *rep);

static uint32_t interest_in(uint32_t number, uint32_t kind) {
    return number * INTERESTS + kind;
}

static file_t *file_share(file_t *file) {
    file->users++;
    return file;
}

/* Forget one use; the last one closes the file. */
static void file_leave(file_t *file) {
    if (file != NULL && --file->users == 0) {
        host_close(file->number);
        cell_give(file);
    }
}

static socket_t *socket_share(socket_t *socket) {
    socket->users++;
    return socket;
}

/* Forget one use; the last one closes the socket. */
static void socket_leave(socket_t *socket) {
    if (socket != NULL && --socket->users == 0) {
        host_socket_close(socket->number);
        cell_give(socket);
    }
}

/* ---- errors ------------------------------------------------------------------------------- */

static handle_t make_error(uint8_t code, bool is_of_socket) {
    error_t *error = cell_take();
    error->code = code;
    error->is_of_socket = is_of_socket;
    return error_new(error);
}

EXPORT(IO_ERROR "#[method]error.to-debug-string")
text_t *error_to_debug_string(const error_t *error) {
    static const uint8_t of_file[] = "a file operation failed";
    static const uint8_t of_socket[] = "a connection failed";
    static const text_t words[] = {
        {(uint8_t *)of_file, sizeof(of_file) - 1},
        {(uint8_t *)of_socket, sizeof(of_socket) - 1},
    };
    static text_t result;
    result = words[error->is_of_socket];
#ifdef HAS_HTTP
    static const uint8_t of_http[] = "a body broke off";
    if (error->is_of_http) {
        result = (text_t){(uint8_t *)of_http, sizeof(of_http) - 1};
    }
#endif
    scratch_end();
    return &result;
}

EXPORT(IO_ERROR "#[dtor]error") void error_drop(error_t *error) {
#ifdef HAS_HTTP
    heap_give(error->text.bytes);
#endif
    cell_give(error);
}

#ifdef HAS_HTTP
/* What was written leaves before the guest waits for anything. */
static void before_waiting(void);
#else
static inline void before_waiting(void) {}
#endif

/* ---- pollables ---------------------------------------------------------------------------- */

static handle_t make_pollable(uint64_t instant) {
    pollable_t *pollable = cell_take();
    pollable->instant = instant;
    return pollable_new(pollable);
}

static handle_t make_interest(uint32_t number, uint32_t kind) {
    pollable_t *pollable = cell_take();
    pollable->interest = interest_in(number, kind);
    return pollable_new(pollable);
}

static bool is_ready(const pollable_t *pollable, uint64_t now) {
    return pollable->interest != 0 ? host_is_ready(pollable->interest) : pollable->instant <= now;
}

/* Wait for what is not ready; the host may return early. `interests` has room for all. */
static void wait_once(pollable_t *const *pollables, size_t count, uint32_t *interests) {
    uint64_t first = UINT64_MAX;
    size_t length = 0;
    before_waiting();
    for (size_t i = 0; i < count; i++) {
        if (pollables[i]->interest != 0) {
            interests[length++] = pollables[i]->interest;
        } else if (pollables[i]->instant < first) {
            first = pollables[i]->instant;
        }
    }
    if (length > 0) {
        host_wait_ready(interests, length, first);
    } else {
        host_sleep_until(first);
    }
}

/* Wait until something of a socket is ready. */
static void wait_for(uint32_t number, uint32_t kind) {
    uint32_t interest = interest_in(number, kind);
    while (!host_is_ready(interest)) {
        before_waiting();
        host_wait_ready(&interest, 1, UINT64_MAX);
    }
}

EXPORT(IO_POLL "#[method]pollable.ready") uint32_t pollable_ready(const pollable_t *pollable) {
    bool is_always = pollable->interest == 0 && pollable->instant == 0;
    return is_always || is_ready(pollable, host_monotonic_now());
}

EXPORT(IO_POLL "#[method]pollable.block") void pollable_block(pollable_t *pollable) {
    if (pollable->interest != 0 || pollable->instant != 0) {
        uint32_t interest;
        while (!is_ready(pollable, host_monotonic_now())) {
            wait_once(&pollable, 1, &interest);
        }
    }
    scratch_end();
}

/* Return the places of all that are ready, at least one. None to wait for is a guest's mistake. */
EXPORT(IO_POLL "#poll") text_t *poll(pollable_t *const *pollables, size_t count) {
    static text_t result;
    if (count == 0) {
        __builtin_trap();
    }
    uint32_t *ready = scratch(2 * count * sizeof(uint32_t), sizeof(uint32_t));
    size_t length = 0;
    for (bool is_again = false; length == 0; is_again = true) {
        if (is_again) {
            wait_once(pollables, count, ready + count);
        }
        uint64_t now = host_monotonic_now();
        for (size_t i = 0; i < count; i++) {
            if (is_ready(pollables[i], now)) {
                ready[length++] = (uint32_t)i;
            }
        }
    }
    result = (text_t){(uint8_t *)ready, length};
    scratch_end();
    return &result;
}

EXPORT(IO_POLL "#[dtor]pollable") void pollable_drop(pollable_t *pollable) {
    cell_give(pollable);
}

#endif
