/* wasi:io: output streams. What is written to a file or the log is with the host at once; a socket
 * takes what it offered to take, and its blocking functions wait until it does.
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include "streams.h"
#ifdef HAS_HTTP
#include "../http/outbody.h"
#endif

#define WRITE_BYTES_MAX (1024u * 1024) /* one call of the host; more becomes several */

/* What a file or the log offers to take at once. Generous, because there are guests that write no
 * more than that and lose the rest: an interpreter whose standard output is not buffered, for one.
 */
#define OFFER_BYTES (16u * 1024 * 1024)
#define ZEROES_BYTES 4096u

enum { TO_STDOUT, TO_STDERR, TO_OFFSET, TO_END, TO_SOCKET, TO_BODY };

typedef struct {
    file_t *file;
    socket_t *socket;
    uint64_t offset;
    uint8_t to;
#ifdef HAS_HTTP
    outbody_t *body; /* or NULL */
#endif
} output_t;

_Static_assert(sizeof(output_t) <= CELL_BYTES, "fits a cell");

IMPORT("[export]" IO_STREAMS, "[resource-new]output-stream")
extern handle_t output_new(output_t *rep);

static handle_t make_output(uint8_t to, file_t *file, uint64_t offset) {
    output_t *output = cell_take();
    output->to = to;
    output->file = file == NULL ? NULL : file_share(file);
    output->offset = offset;
    return output_new(output);
}

static handle_t make_socket_output(socket_t *socket) {
    output_t *output = cell_take();
    output->to = TO_SOCKET;
    output->socket = socket_share(socket);
    return output_new(output);
}

/* Tell what a stream takes now, if blocking not before it takes something. */
static written_t ask_offer(const output_t *output, bool is_blocking, uint64_t *offer) {
    *offer = OFFER_BYTES;
#ifdef HAS_HTTP
    if (output->to == TO_BODY) {
        return offer_body(output->body, is_blocking, offer);
    }
#endif
    if (output->to != TO_SOCKET) {
        return (written_t){0};
    }
    if (is_blocking) {
        wait_for(output->socket->number, OF_SENDING);
    }
    long_number_t offered;
    host_offered(output->socket->number, &offered);
    *offer = offered.is_error ? 0 : offered.value.number;
    return offered.is_error ? socket_failure(offered.value.code) : (written_t){0};
}

/* Have what was written leave; return when the stream takes more. */
static written_t flush(const output_t *output, bool is_blocking) {
#ifdef HAS_HTTP
    if (output->to == TO_BODY) {
        flush_body(output->body);
    }
#endif
    uint64_t offer;
    return ask_offer(output, is_blocking, &offer);
}

static written_t write_part(output_t *output, const uint8_t *bytes, size_t length) {
    written_t written = {0};
#ifdef HAS_HTTP
    if (output->to == TO_BODY) {
        return write_body(output->body, bytes, length);
    }
#endif
    text_t frame = frame_encode(bytes, length);
    if (output->to == TO_SOCKET) {
        done_t sent;
        host_send(output->socket->number, frame.bytes, frame.length, &sent);
        return sent.is_error ? socket_failure(sent.code) : written;
    }
    if (output->file == NULL) {
        host_log_write(output->to == TO_STDERR, frame.bytes, frame.length);
        return written;
    }
    done_t done;
    host_write(output->file->number, frame.bytes, frame.length, output->to == TO_OFFSET,
               output->offset, &done);
    if (done.is_error) {
        written = (written_t){.is_error = 1, .error = make_error(done.code, false)};
    }
    output->offset += length;
    return written;
}

/* Write all of the bytes: they are with the host when this returns. */
static written_t write_bytes(output_t *output, const uint8_t *bytes, size_t length) {
    written_t written = {0};
    while (length > 0 && !written.is_error) {
        size_t part = length < WRITE_BYTES_MAX ? length : WRITE_BYTES_MAX;
        written = write_part(output, bytes, part);
        bytes += part;
        length -= part;
    }
    return written;
}

static written_t *written_result(written_t written) {
    static written_t result;
    result = written;
    scratch_end();
    return &result;
}

/* Write all of the bytes, waiting for the stream to take them, and until they have left. */
static written_t write_and_flush(output_t *output, const uint8_t *bytes, size_t length) {
    written_t written = {0};
    uint64_t offer;
    if (output->to < TO_SOCKET) {
        return write_bytes(output, bytes, length);
    }
    while (length > 0 && !written.is_error) {
        written = ask_offer(output, true, &offer);
        if (!written.is_error) {
            size_t part = length < offer ? length : (size_t)offer;
            written = write_part(output, bytes, part);
            bytes += part;
            length -= part;
        }
    }
    return written.is_error ? written : flush(output, true);
}

/* Write zeroes: to a socket in one piece, as it was offered. */
static written_t write_zeroes(output_t *output, uint64_t length, bool is_blocking) {
    static const uint8_t zeroes[ZEROES_BYTES];
    written_t written = {0};
    if (output->to >= TO_SOCKET && !is_blocking) {
        if (length > WRITE_BYTES_MAX) {
            __builtin_trap(); /* no socket offers so much */
        }
        uint8_t *block = scratch((size_t)length, 1);
        __builtin_memset(block, 0, (size_t)length);
        return write_part(output, block, (size_t)length);
    }
    while (length > 0 && !written.is_error) {
        size_t part = length < ZEROES_BYTES ? (size_t)length : ZEROES_BYTES;
        written = write_and_flush(output, zeroes, part);
        length -= part;
    }
    return written;
}

static count_result_t *splice(output_t *output, input_t *input, uint64_t length,
                              bool is_blocking) {
    uint64_t offer;
    written_t failure = ask_offer(output, is_blocking, &offer);
    text_t bytes = {(uint8_t *)1, 0};
    bool is_done = !failure.is_error;
    if (is_done) {
        length = length < offer ? length : offer;
        is_done = read_bytes(input, length, is_blocking, &bytes, &failure);
    }
    if (is_done) {
        failure = write_bytes(output, bytes.bytes, bytes.length);
        is_done = !failure.is_error;
    }
    return count_result(is_done, bytes.length, &failure);
}

EXPORT(IO_STREAMS "#[method]output-stream.check-write")
count_result_t *output_check_write(const output_t *output) {
    uint64_t offer;
    written_t failure = ask_offer(output, false, &offer);
    return count_result(!failure.is_error, offer, &failure);
}

EXPORT(IO_STREAMS "#[method]output-stream.write")
written_t *output_write(output_t *output, const uint8_t *bytes, size_t length) {
    return written_result(write_bytes(output, bytes, length));
}

EXPORT(IO_STREAMS "#[method]output-stream.blocking-write-and-flush")
written_t *output_blocking_write(output_t *output, const uint8_t *bytes, size_t length) {
    return written_result(write_and_flush(output, bytes, length));
}

/* What was written leaves by itself; until it has, nothing is offered. */
EXPORT(IO_STREAMS "#[method]output-stream.flush") written_t *output_flush(const output_t *output) {
    return written_result(flush(output, false));
}

EXPORT(IO_STREAMS "#[method]output-stream.blocking-flush")
written_t *output_blocking_flush(const output_t *output) {
    return written_result(flush(output, true));
}

EXPORT(IO_STREAMS "#[method]output-stream.subscribe")
handle_t output_subscribe(const output_t *output) {
#ifdef HAS_HTTP
    if (output->to == TO_BODY) {
        return outbody_subscribe(output->body);
    }
#endif
    socket_t *socket = output->socket;
    return socket == NULL ? make_pollable(0) : make_interest(socket->number, OF_SENDING);
}

EXPORT(IO_STREAMS "#[method]output-stream.write-zeroes")
written_t *output_write_zeroes(output_t *output, uint64_t length) {
    return written_result(write_zeroes(output, length, false));
}

EXPORT(IO_STREAMS "#[method]output-stream.blocking-write-zeroes-and-flush")
written_t *output_blocking_write_zeroes(output_t *output, uint64_t length) {
    return written_result(write_zeroes(output, length, true));
}

EXPORT(IO_STREAMS "#[method]output-stream.splice")
count_result_t *output_splice(output_t *output, input_t *input, uint64_t length) {
    return splice(output, input, length, false);
}

EXPORT(IO_STREAMS "#[method]output-stream.blocking-splice")
count_result_t *output_blocking_splice(output_t *output, input_t *input, uint64_t length) {
    return splice(output, input, length, true);
}

EXPORT(IO_STREAMS "#[dtor]output-stream") void output_drop(output_t *output) {
#ifdef HAS_HTTP
    outbody_unstream(output->body);
#endif
    file_leave(output->file);
    socket_leave(output->socket);
    cell_give(output);
}

#endif
