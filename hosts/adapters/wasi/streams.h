/* wasi:io: input streams, and how the operations of all streams end. Reading a file never waits but
 * for the host; a socket has what has come, or waits where it should. The standard input always
 * seems ready, and every reading of it waits.
 */
#ifndef STREAMS_H
#define STREAMS_H

#include "io.h"
#define IO_STREAMS "wasi:io/streams@0.2.12"

#define READ_BYTES_MAX (1024u * 1024) /* one reading; a guest that wants more reads again */

typedef struct {
    file_t *file;     /* NULL: a socket, or the standard input */
    socket_t *socket; /* or NULL */
    uint64_t offset;
#ifdef HAS_HTTP
    struct inbody *body; /* or NULL */
#endif
} input_t;

_Static_assert(sizeof(input_t) <= CELL_BYTES, "fits a cell");

enum { SOCKET_ERROR_INVALID_STATE = 9 };

/* result<_, stream-error> */
typedef struct {
    uint8_t is_error;
    uint8_t padding[3];
    uint8_t is_closed;
    handle_t error;
} written_t;

/* result<list<u8>, stream-error> */
typedef struct {
    uint8_t is_error;
    union {
        text_t bytes;
        struct {
            uint8_t is_closed;
            handle_t error;
        } failure;
    } value;
} bytes_result_t;

/* result<u64, stream-error> */
typedef struct {
    uint8_t is_error;
    union {
        uint64_t count;
        struct {
            uint8_t is_closed;
            handle_t error;
        } failure;
    } value;
} count_result_t;

_Static_assert(sizeof(written_t) == 12, "result<_, stream-error>");
_Static_assert(sizeof(bytes_result_t) == 12, "result<list<u8>, stream-error>");
_Static_assert(sizeof(count_result_t) == 16, "result<u64, stream-error>");

IMPORT("[export]" IO_STREAMS, "[resource-new]input-stream")
extern handle_t input_new(input_t *rep);

#ifdef HAS_HTTP
#include "../http/inbody.h"
#endif

/* ---- input -------------------------------------------------------------------------------- */

static handle_t make_input(file_t *file, uint64_t offset) {
    input_t *input = cell_take();
    input->file = file == NULL ? NULL : file_share(file);
    input->offset = offset;
    return input_new(input);
}

static handle_t make_socket_input(socket_t *socket) {
    input_t *input = cell_take();
    input->socket = socket_share(socket);
    return input_new(input);
}

/* What a failed operation on a socket means for its streams. */
static written_t socket_failure(uint8_t code) {
    if (code == SOCKET_ERROR_INVALID_STATE) {
        return (written_t){.is_error = 1, .is_closed = 1};
    }
    return (written_t){.is_error = 1, .error = make_error(code, true)};
}

static bool read_socket(const input_t *input, uint64_t length, bool is_blocking, text_t *bytes,
                        written_t *failure) {
    uint32_t number = input->socket->number;
    received_t chunk;
    if (is_blocking) {
        wait_for(number, OF_RECEIVING);
    }
    host_receive(number, length < READ_BYTES_MAX ? (uint32_t)length : READ_BYTES_MAX, &chunk);
    if (chunk.is_error) {
        *failure = socket_failure(chunk.value.code);
    } else if (!chunk.value.received.is_some) {
        *failure = (written_t){.is_error = 1, .is_closed = 1};
    } else {
        *bytes = frame_decode(chunk.value.received.frame);
        return true;
    }
    return false;
}

/* Read into scratch. Returns false with `failure` set at the end and when reading fails. */
static bool read_bytes(input_t *input, uint64_t length, bool is_blocking, text_t *bytes,
                       written_t *failure) {
    *bytes = (text_t){(uint8_t *)1, 0};
    if (length == 0) {
        return true;
    }
#ifdef HAS_HTTP
    if (input->body != NULL) {
        return read_body(input->body, length, is_blocking, bytes, failure);
    }
#endif
    if (input->socket != NULL) {
        return read_socket(input, length, is_blocking, bytes, failure);
    }
    uint32_t most = length < READ_BYTES_MAX ? (uint32_t)length : READ_BYTES_MAX;
    frame_t frame;
    if (input->file == NULL) {
        host_read_input(most, &frame);
    } else {
        host_read(input->file->number, most, input->offset, &frame);
    }
    if (frame.is_error) {
        *failure = (written_t){.is_error = 1, .error = make_error(frame.value.code, false)};
        return false;
    }
    *bytes = frame_decode(frame.value.text);
    input->offset += bytes->length;
    if (bytes->length == 0) {
        *failure = (written_t){.is_error = 1, .is_closed = 1};
    }
    return bytes->length > 0;
}

static bytes_result_t *read_result(input_t *input, uint64_t length, bool is_blocking) {
    static bytes_result_t result;
    written_t failure;
    text_t bytes;
    if (read_bytes(input, length, is_blocking, &bytes, &failure)) {
        result.is_error = 0;
        result.value.bytes = bytes;
    } else {
        result.is_error = 1;
        result.value.failure.is_closed = failure.is_closed;
        result.value.failure.error = failure.error;
    }
    scratch_end();
    return &result;
}

static count_result_t *count_result(bool is_done, uint64_t count, const written_t *failure) {
    static count_result_t result;
    result.is_error = !is_done;
    if (is_done) {
        result.value.count = count;
    } else {
        result.value.failure.is_closed = failure->is_closed;
        result.value.failure.error = failure->error;
    }
    scratch_end();
    return &result;
}

static count_result_t *skip_result(input_t *input, uint64_t length, bool is_blocking) {
    written_t failure;
    text_t bytes;
    bool is_done = read_bytes(input, length, is_blocking, &bytes, &failure);
    return count_result(is_done, bytes.length, &failure);
}

EXPORT(IO_STREAMS "#[method]input-stream.read")
bytes_result_t *input_read(input_t *input, uint64_t length) {
    return read_result(input, length, false);
}

EXPORT(IO_STREAMS "#[method]input-stream.blocking-read")
bytes_result_t *input_blocking_read(input_t *input, uint64_t length) {
    return read_result(input, length, true);
}

EXPORT(IO_STREAMS "#[method]input-stream.skip")
count_result_t *input_skip(input_t *input, uint64_t length) {
    return skip_result(input, length, false);
}

EXPORT(IO_STREAMS "#[method]input-stream.blocking-skip")
count_result_t *input_blocking_skip(input_t *input, uint64_t length) {
    return skip_result(input, length, true);
}

EXPORT(IO_STREAMS "#[method]input-stream.subscribe")
handle_t input_subscribe(const input_t *input) {
#ifdef HAS_HTTP
    if (input->body != NULL) {
        return inbody_subscribe(input->body);
    }
#endif
    socket_t *socket = input->socket;
    return socket == NULL ? make_pollable(0) : make_interest(socket->number, OF_RECEIVING);
}

EXPORT(IO_STREAMS "#[dtor]input-stream") void input_drop(input_t *input) {
#ifdef HAS_HTTP
    inbody_unstream(input->body);
#endif
    file_leave(input->file);
    socket_leave(input->socket);
    cell_give(input);
}

#endif
