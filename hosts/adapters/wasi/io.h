/* wasi:io: errors and pollables; and the files that descriptors and streams share.
 *
 * A pollable is an instant of the monotonic clock; what is always ready has the instant 0. Waiting
 * for any number of them is one call of the host, which suspends the guest.
 */
#ifndef IO_H
#define IO_H

#include "host.h"

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

typedef struct {
    uint64_t instant;
} pollable_t;

typedef struct {
    uint8_t code; /* error-code of wasi:filesystem */
} error_t;

IMPORT("[export]" IO_ERROR, "[resource-new]error") extern handle_t error_new(error_t *rep);
IMPORT("[export]" IO_POLL, "[resource-new]pollable") extern handle_t pollable_new(pollable_t *rep);

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

/* ---- errors ------------------------------------------------------------------------------- */

static handle_t make_error(uint8_t code) {
    error_t *error = cell_take();
    error->code = code;
    return error_new(error);
}

EXPORT(IO_ERROR "#[method]error.to-debug-string")
text_t *error_to_debug_string(const error_t *error) {
    (void)error;
    static const uint8_t words[] = "a file operation failed";
    static text_t result;
    result = (text_t){(uint8_t *)words, sizeof(words) - 1};
    scratch_end();
    return &result;
}

EXPORT(IO_ERROR "#[dtor]error") void error_drop(error_t *error) {
    cell_give(error);
}

/* ---- pollables ---------------------------------------------------------------------------- */

static handle_t make_pollable(uint64_t instant) {
    pollable_t *pollable = cell_take();
    pollable->instant = instant;
    return pollable_new(pollable);
}

static bool is_ready(const pollable_t *pollable, uint64_t now) {
    return pollable->instant <= now;
}

/* Sleep until an instant, and return what the clock says then. The host may wake a little early. */
static uint64_t sleep_until(uint64_t instant) {
    uint64_t now = host_monotonic_now();
    while (now < instant) {
        host_sleep_until(instant);
        now = host_monotonic_now();
    }
    return now;
}

EXPORT(IO_POLL "#[method]pollable.ready") uint32_t pollable_ready(const pollable_t *pollable) {
    return pollable->instant == 0 || is_ready(pollable, host_monotonic_now());
}

EXPORT(IO_POLL "#[method]pollable.block") void pollable_block(const pollable_t *pollable) {
    if (pollable->instant != 0) {
        sleep_until(pollable->instant);
    }
}

/* Return the places of all that are ready, at least one. None to wait for is a guest's mistake. */
EXPORT(IO_POLL "#poll") text_t *poll(pollable_t *const *pollables, size_t count) {
    static text_t result;
    if (count == 0) {
        __builtin_trap();
    }
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        first = pollables[i]->instant < first ? pollables[i]->instant : first;
    }
    uint64_t now = sleep_until(first);
    uint32_t *ready = scratch(count * sizeof(uint32_t), sizeof(uint32_t));
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_ready(pollables[i], now)) {
            ready[length++] = (uint32_t)i;
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
