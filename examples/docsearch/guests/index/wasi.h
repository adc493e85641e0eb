/* The two things that `index.c` wants of WASI 0.2: read a file, write a line to standard error. */
#ifndef WASI_H
#define WASI_H

#include "../include/line.h"

#define FILE_BYTES_MAX (32u * 1024 * 1024) /* the index of a larger corpus would pass 64 MiB */
#define READ_BYTES (1024u * 1024)

/* A handle of a resource of the host, owned until it is dropped. */
typedef uint32_t handle_t;

typedef struct {
    handle_t descriptor;
    text_t path;
} preopen_t;

typedef struct {
    preopen_t *items;
    size_t length;
} preopen_list_t;

/* result<descriptor, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        handle_t descriptor;
        uint8_t code;
    } value;
} open_result_t;

/* result<tuple<list<u8>, bool>, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        struct {
            text_t bytes;
            uint8_t is_end;
        } chunk;
        uint8_t code;
    } value;
} read_result_t;

/* result<_, stream-error>, where stream-error is last-operation-failed(error) or closed. */
typedef struct {
    uint8_t is_error;
    uint8_t padding[3];
    uint8_t is_closed;
    handle_t error;
} write_result_t;

_Static_assert(sizeof(preopen_t) == 12, "tuple<descriptor, string>");
_Static_assert(sizeof(open_result_t) == 8, "result<descriptor, error-code>");
_Static_assert(sizeof(read_result_t) == 16, "result<tuple<list<u8>, bool>, error-code>");
_Static_assert(sizeof(write_result_t) == 12, "result<_, stream-error>");

IMPORT("wasi:filesystem/preopens@0.2.0", "get-directories")
extern void wasi_get_directories(preopen_list_t *result);

IMPORT("wasi:filesystem/types@0.2.0", "[method]descriptor.open-at")
extern void wasi_open_at(handle_t directory, uint32_t path_flags, const uint8_t *path,
                         size_t path_length, uint32_t open_flags, uint32_t flags,
                         open_result_t *result);

IMPORT("wasi:filesystem/types@0.2.0", "[method]descriptor.read")
extern void wasi_read(handle_t file, uint64_t length, uint64_t offset, read_result_t *result);

IMPORT("wasi:filesystem/types@0.2.0", "[resource-drop]descriptor")
extern void wasi_drop_descriptor(handle_t descriptor);

IMPORT("wasi:cli/stderr@0.2.0", "get-stderr")
extern handle_t wasi_get_stderr(void);

IMPORT("wasi:io/streams@0.2.0", "[method]output-stream.blocking-write-and-flush")
extern void wasi_write(handle_t stream, const uint8_t *bytes, size_t length,
                       write_result_t *result);

IMPORT("wasi:io/streams@0.2.0", "[resource-drop]output-stream")
extern void wasi_drop_stream(handle_t stream);

IMPORT("wasi:io/error@0.2.0", "[resource-drop]error")
extern void wasi_drop_error(handle_t error);

#define ERROR_CODE_NO_ENTRY 20 /* the place of `no-entry` in the enum error-code */
#define FLAG_READ 1u           /* descriptor-flags: read */

/* Write at most 4096 bytes to standard error. That nobody listens is no reason to fail. */
static void write_stderr(text_t text) {
    handle_t stream = wasi_get_stderr();
    write_result_t result;
    wasi_write(stream, text.bytes, text.length < 4096 ? text.length : 4096, &result);
    if (result.is_error && !result.is_closed) {
        wasi_drop_error(result.error);
    }
    wasi_drop_stream(stream);
}

/* Say why the file cannot be read, and trap. */
static _Noreturn void fail_to_read(text_t path, text_t reason, const uint8_t *code) {
    line_t line = line_begin();
    line_add(&line, TEXT("index: cannot read "));
    line_add(&line, path);
    line_add(&line, TEXT(": "));
    line_add(&line, reason);
    if (code != NULL && *code == ERROR_CODE_NO_ENTRY) {
        line_add(&line, TEXT(", there is no such file"));
    } else if (code != NULL) {
        line_add(&line, TEXT(", wasi:filesystem error code "));
        line_add_number(&line, *code);
    }
    line_add(&line, TEXT("\n"));
    write_stderr(line_text(&line));
    __builtin_trap();
}

/* Return what is left of a path below a directory, without the slash; empty if it is not below. */
static text_t path_below(text_t path, text_t directory) {
    size_t length = directory.length;
    if (length > 0 && directory.bytes[length - 1] == '/') {
        length--;
    }
    text_t head = {path.bytes, length};
    if (path.length <= length + 1 || path.bytes[length] != '/' ||
        !text_equal(head, (text_t){directory.bytes, length})) {
        return (text_t){NULL, 0};
    }
    return (text_t){path.bytes + length + 1, path.length - length - 1};
}

/* Open a file for reading in whichever of the directories that the host granted holds it. */
static handle_t open_file(text_t path) {
    preopen_list_t directories;
    wasi_get_directories(&directories);
    open_result_t opened = {.is_error = 1, .value.code = ERROR_CODE_NO_ENTRY};
    for (size_t i = 0; i < directories.length; i++) {
        const preopen_t *directory = &directories.items[i];
        text_t rest = path_below(path, directory->path);
        if (rest.length > 0 && opened.is_error) {
            wasi_open_at(directory->descriptor, 0, rest.bytes, rest.length, 0, FLAG_READ, &opened);
        }
        wasi_drop_descriptor(directory->descriptor);
    }
    if (opened.is_error) {
        fail_to_read(path, TEXT("opening failed"), &opened.value.code);
    }
    return opened.value.descriptor;
}

/* Return all bytes of a file. They stay allocated, and may be written. */
static text_t read_file(text_t path) {
    handle_t file = open_file(path);
    uint8_t *start = allocate(0, 1);
    size_t length = 0;
    read_result_t result;
    do {
        wasi_read(file, READ_BYTES, length, &result);
        if (result.is_error) {
            fail_to_read(path, TEXT("reading failed"), &result.value.code);
        }
        text_t chunk = result.value.chunk.bytes;
        if (chunk.length == 0) {
            break;
        }
        /* The host takes memory for a chunk from `cabi_realloc`, so the chunks lie in a row. */
        if (chunk.bytes != start + length) {
            __builtin_trap();
        }
        length += chunk.length;
        if (length > FILE_BYTES_MAX) {
            fail_to_read(path, TEXT("it is larger than 32 MiB"), NULL);
        }
    } while (!result.value.chunk.is_end);
    wasi_drop_descriptor(file);
    return (text_t){start, length};
}

#endif
