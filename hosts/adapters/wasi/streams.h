/* wasi:io: streams. They never wait but for the host: what is written is with it at once. */
#ifndef STREAMS_H
#define STREAMS_H

#include "io.h"

#define IO_STREAMS "wasi:io/streams@0.2.12"

#define READ_BYTES_MAX (1024u * 1024)  /* one reading; a guest that wants more reads again */
#define WRITE_BYTES_MAX (1024u * 1024) /* one call of the host; more becomes several */

/* What a stream offers to take at once. Generous, because there are guests that write no more than
 * that and lose the rest: an interpreter whose standard output is not buffered, for one. */
#define OFFER_BYTES (16u * 1024 * 1024)
#define ZEROES_BYTES 4096u

typedef struct {
    file_t *file; /* NULL: standard input, which is at its end */
    uint64_t offset;
} input_t;

enum { TO_STDOUT, TO_STDERR, TO_OFFSET, TO_END };

typedef struct {
    file_t *file;
    uint64_t offset;
    uint8_t to;
} output_t;

_Static_assert(sizeof(output_t) <= CELL_BYTES, "fits a cell");

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
IMPORT("[export]" IO_STREAMS, "[resource-new]output-stream")
extern handle_t output_new(output_t *rep);

/* ---- input -------------------------------------------------------------------------------- */

static handle_t make_input(file_t *file, uint64_t offset) {
    input_t *input = cell_take();
    input->file = file == NULL ? NULL : file_share(file);
    input->offset = offset;
    return input_new(input);
}

/* Read into scratch. Returns false with `failure` set at the end and when reading fails. */
static bool read_bytes(input_t *input, uint64_t length, text_t *bytes, written_t *failure) {
    *bytes = (text_t){(uint8_t *)1, 0};
    if (length == 0) {
        return true;
    }
    if (input->file == NULL) {
        *failure = (written_t){.is_error = 1, .is_closed = 1};
        return false;
    }
    frame_t frame;
    host_read(input->file->number, length < READ_BYTES_MAX ? (uint32_t)length : READ_BYTES_MAX,
              input->offset, &frame);
    if (frame.is_error) {
        *failure = (written_t){.is_error = 1, .error = make_error(frame.value.code)};
        return false;
    }
    *bytes = frame_decode(frame.value.text);
    input->offset += bytes->length;
    if (bytes->length == 0) {
        *failure = (written_t){.is_error = 1, .is_closed = 1};
    }
    return bytes->length > 0;
}

static bytes_result_t *read_result(input_t *input, uint64_t length) {
    static bytes_result_t result;
    written_t failure;
    text_t bytes;
    if (read_bytes(input, length, &bytes, &failure)) {
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

static count_result_t *skip_result(input_t *input, uint64_t length) {
    written_t failure;
    text_t bytes;
    bool is_done = read_bytes(input, length, &bytes, &failure);
    return count_result(is_done, bytes.length, &failure);
}

EXPORT(IO_STREAMS "#[method]input-stream.read")
bytes_result_t *input_read(input_t *input, uint64_t length) {
    return read_result(input, length);
}

EXPORT(IO_STREAMS "#[method]input-stream.blocking-read")
bytes_result_t *input_blocking_read(input_t *input, uint64_t length) {
    return read_result(input, length);
}

EXPORT(IO_STREAMS "#[method]input-stream.skip")
count_result_t *input_skip(input_t *input, uint64_t length) {
    return skip_result(input, length);
}

EXPORT(IO_STREAMS "#[method]input-stream.blocking-skip")
count_result_t *input_blocking_skip(input_t *input, uint64_t length) {
    return skip_result(input, length);
}

EXPORT(IO_STREAMS "#[method]input-stream.subscribe")
handle_t input_subscribe(const input_t *input) {
    (void)input;
    return make_pollable(0);
}

EXPORT(IO_STREAMS "#[dtor]input-stream") void input_drop(input_t *input) {
    file_leave(input->file);
    cell_give(input);
}

/* ---- output ------------------------------------------------------------------------------- */

static handle_t make_output(uint8_t to, file_t *file, uint64_t offset) {
    output_t *output = cell_take();
    output->to = to;
    output->file = file == NULL ? NULL : file_share(file);
    output->offset = offset;
    return output_new(output);
}

static written_t write_part(output_t *output, const uint8_t *bytes, size_t length) {
    written_t written = {0};
    text_t frame = frame_encode(bytes, length);
    if (output->file == NULL) {
        host_log_write(output->to == TO_STDERR, frame.bytes, frame.length);
        return written;
    }
    done_t done;
    host_write(output->file->number, frame.bytes, frame.length, output->to == TO_OFFSET,
               output->offset, &done);
    if (done.is_error) {
        written = (written_t){.is_error = 1, .error = make_error(done.code)};
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

static written_t write_zeroes(output_t *output, uint64_t length) {
    static const uint8_t zeroes[ZEROES_BYTES];
    written_t written = {0};
    while (length > 0 && !written.is_error) {
        size_t part = length < ZEROES_BYTES ? (size_t)length : ZEROES_BYTES;
        written = write_bytes(output, zeroes, part);
        length -= part;
    }
    return written;
}

static count_result_t *splice(output_t *output, input_t *input, uint64_t length) {
    written_t failure;
    text_t bytes;
    bool is_done = read_bytes(input, length, &bytes, &failure);
    if (is_done) {
        failure = write_bytes(output, bytes.bytes, bytes.length);
        is_done = !failure.is_error;
    }
    return count_result(is_done, bytes.length, &failure);
}

EXPORT(IO_STREAMS "#[method]output-stream.check-write")
count_result_t *output_check_write(const output_t *output) {
    (void)output;
    return count_result(true, OFFER_BYTES, NULL);
}

EXPORT(IO_STREAMS "#[method]output-stream.write")
written_t *output_write(output_t *output, const uint8_t *bytes, size_t length) {
    return written_result(write_bytes(output, bytes, length));
}

EXPORT(IO_STREAMS "#[method]output-stream.blocking-write-and-flush")
written_t *output_blocking_write(output_t *output, const uint8_t *bytes, size_t length) {
    return written_result(write_bytes(output, bytes, length));
}

EXPORT(IO_STREAMS "#[method]output-stream.flush") written_t *output_flush(const output_t *output) {
    (void)output;
    return written_result((written_t){0});
}

EXPORT(IO_STREAMS "#[method]output-stream.blocking-flush")
written_t *output_blocking_flush(const output_t *output) {
    (void)output;
    return written_result((written_t){0});
}

EXPORT(IO_STREAMS "#[method]output-stream.subscribe")
handle_t output_subscribe(const output_t *output) {
    (void)output;
    return make_pollable(0);
}

EXPORT(IO_STREAMS "#[method]output-stream.write-zeroes")
written_t *output_write_zeroes(output_t *output, uint64_t length) {
    return written_result(write_zeroes(output, length));
}

EXPORT(IO_STREAMS "#[method]output-stream.blocking-write-zeroes-and-flush")
written_t *output_blocking_write_zeroes(output_t *output, uint64_t length) {
    return written_result(write_zeroes(output, length));
}

EXPORT(IO_STREAMS "#[method]output-stream.splice")
count_result_t *output_splice(output_t *output, input_t *input, uint64_t length) {
    return splice(output, input, length);
}

EXPORT(IO_STREAMS "#[method]output-stream.blocking-splice")
count_result_t *output_blocking_splice(output_t *output, input_t *input, uint64_t length) {
    return splice(output, input, length);
}

EXPORT(IO_STREAMS "#[dtor]output-stream") void output_drop(output_t *output) {
    file_leave(output->file);
    cell_give(output);
}

#endif
