/* As much of wasi:http as a small guest in C needs, on the canonical ABI and nothing else.
 *
 * A guest writes `void answer(request_t *request)`; the rest of this file is what it calls, and what
 * the host calls. All memory of a request is given back at its end. No library of C is needed.
 */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WASI "@0.2.0"
#define IMPORT(module, name) __attribute__((import_module(module WASI), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

typedef uint32_t handle_t;

/* A WIT `string` or `list<u8>`: bytes without a zero at the end. */
typedef struct {
    const char *bytes;
    size_t length;
} text_t;

#define TEXT(literal) ((text_t){(literal), sizeof(literal) - 1})

typedef struct {
    text_t method; /* such as GET */
    text_t path;   /* up to the question mark, as it was sent */
    text_t query;  /* behind the question mark; empty without one */
    handle_t handle, out, body, stream;
} request_t;

/* What a guest has to have. It calls `begin` once, then `say` as often as it likes. */
static void answer(request_t *request);

/* --- memory: a block that grows, and is free again after each request -------------------------- */

extern char __heap_base; /* the linker puts it behind static data and the stack */
static uintptr_t memory_at;

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t was, size_t align, size_t size) {
    if (memory_at == 0) {
        memory_at = (uintptr_t)&__heap_base;
    }
    uintptr_t start = (memory_at + align - 1) & ~(align - 1);
    size_t have = __builtin_wasm_memory_size(0) * 65536;
    if (start + size > have &&
        __builtin_wasm_memory_grow(0, (start + size - have) / 65536 + 1) == SIZE_MAX) {
        __builtin_trap();
    }
    memory_at = start + size;
    __builtin_memcpy((void *)start, old, was < size ? was : size);
    return (void *)start;
}

static void *allocate(size_t size) {
    return cabi_realloc(NULL, 0, 8, size);
}

/* --- texts ----------------------------------------------------------------------------------- */

static inline bool starts_with(text_t text, text_t start) {
    if (text.length < start.length) {
        return false;
    }
    for (size_t i = 0; i < start.length; i++) {
        if (text.bytes[i] != start.bytes[i]) {
            return false;
        }
    }
    return true;
}

static inline bool is_text(text_t a, text_t b) {
    return a.length == b.length && starts_with(a, b);
}

/* What is left of a text without its first bytes. */
static inline text_t after(text_t text, size_t bytes) {
    return (text_t){text.bytes + bytes, text.length - bytes};
}

static inline text_t decimal(uint64_t number) {
    char *end = (char *)allocate(20) + 20, *at = end;
    do {
        *--at = (char)('0' + number % 10);
    } while (number /= 10);
    return (text_t){at, (size_t)(end - at)};
}

/* --- wasi:http, as its functions are imported -------------------------------------------------- */

/* Room for the result of each of these functions: a tag, and behind it what the tag announces. */
typedef struct {
    uint8_t tag; /* result: 1 is an error; option: 1 is there; variant: which of them */
    union {
        handle_t handle;
        text_t text;
    };
    _Alignas(8) char rest[32];
} result_t;

#define HTTP(name) IMPORT("wasi:http/types", name)
HTTP("[method]incoming-request.method") extern void request_method(handle_t, result_t *);
HTTP("[method]incoming-request.path-with-query") extern void request_path(handle_t, result_t *);
HTTP("[method]incoming-request.consume") extern void request_consume(handle_t, result_t *);
HTTP("[resource-drop]incoming-request") extern void drop_request(handle_t);
HTTP("[method]incoming-body.stream") extern void body_stream(handle_t, result_t *);
HTTP("[resource-drop]incoming-body") extern void drop_body(handle_t);
HTTP("[constructor]fields") extern handle_t new_fields(void);
HTTP("[method]fields.append")
extern void append_field(handle_t, const char *, size_t, const char *, size_t, result_t *);
HTTP("[constructor]outgoing-response") extern handle_t new_response(handle_t);
HTTP("[method]outgoing-response.set-status-code") extern uint32_t set_status(handle_t, uint32_t);
HTTP("[method]outgoing-response.body") extern void response_body(handle_t, result_t *);
HTTP("[static]response-outparam.set")
extern void set_response(handle_t, uint32_t, handle_t, uint32_t, uint64_t, uint32_t, uint32_t,
                         uint32_t, uint32_t);
HTTP("[method]outgoing-body.write") extern void body_write(handle_t, result_t *);
HTTP("[static]outgoing-body.finish") extern void finish(handle_t, uint32_t, handle_t, result_t *);

#define STREAMS(name) IMPORT("wasi:io/streams", name)
STREAMS("[method]input-stream.blocking-read")
extern void read_some(handle_t, uint64_t, result_t *);
STREAMS("[resource-drop]input-stream") extern void drop_input(handle_t);
STREAMS("[method]output-stream.blocking-write-and-flush")
extern void write_and_flush(handle_t, const char *, size_t, result_t *);
STREAMS("[resource-drop]output-stream") extern void drop_output(handle_t);

IMPORT("wasi:clocks/monotonic-clock", "subscribe-duration")
extern handle_t subscribe_duration(uint64_t);
IMPORT("wasi:io/poll", "[method]pollable.block") extern void block_on(handle_t);
IMPORT("wasi:io/poll", "[resource-drop]pollable") extern void drop_pollable(handle_t);

/* --- what a guest calls ------------------------------------------------------------------------ */

/* Return the body of the request; beyond `limit` bytes it is cut off. May be called once. */
static inline text_t body_of(request_t *request, size_t limit) {
    result_t result;
    text_t whole = {NULL, 0};
    request_consume(request->handle, &result);
    handle_t body = result.handle;
    body_stream(body, &result);
    handle_t stream = result.handle;
    while (whole.length < limit) {
        read_some(stream, limit - whole.length, &result);
        if (result.tag != 0) { /* the end, or the client has left */
            break;
        }
        size_t length = whole.length + result.text.length;
        char *bytes = cabi_realloc((void *)whole.bytes, whole.length, 1, length);
        __builtin_memcpy(bytes + whole.length, result.text.bytes, result.text.length);
        whole = (text_t){bytes, length};
    }
    drop_input(stream);
    drop_body(body);
    return whole;
}

/* Send the status and the type of the answer. */
static inline void begin(request_t *request, uint32_t status, text_t type) {
    result_t result;
    handle_t fields = new_fields();
    append_field(fields, "content-type", 12, type.bytes, type.length, &result);
    handle_t response = new_response(fields);
    set_status(response, status);
    response_body(response, &result);
    request->body = result.handle;
    set_response(request->out, 0, response, 0, 0, 0, 0, 0, 0);
    body_write(request->body, &result);
    request->stream = result.handle;
}

/* Send a part of the answer; false when the client has left. */
static inline bool say(request_t *request, text_t text) {
    while (text.length > 0) {
        result_t result;
        size_t part = text.length < 4096 ? text.length : 4096; /* as much as WASI takes at once */
        write_and_flush(request->stream, text.bytes, part, &result);
        if (result.tag != 0) {
            return false;
        }
        text = after(text, part);
    }
    return true;
}

/* Wait, and leave the host free for others meanwhile. */
static inline void pause_ms(uint64_t ms) {
    handle_t pollable = subscribe_duration(ms * 1000000);
    block_on(pollable);
    drop_pollable(pollable);
}

/* --- what the host calls ----------------------------------------------------------------------- */

static text_t method_of(handle_t handle) {
    static const text_t names[] = {
        TEXT("GET"), TEXT("HEAD"), TEXT("POST"), TEXT("PUT"), TEXT("DELETE"),
        TEXT("CONNECT"), TEXT("OPTIONS"), TEXT("TRACE"), TEXT("PATCH"),
    };
    result_t result;
    request_method(handle, &result);
    return result.tag < sizeof names / sizeof *names ? names[result.tag] : result.text;
}

EXPORT("wasi:http/incoming-handler" WASI "#handle") void handle(handle_t handle, handle_t out) {
    uintptr_t kept = memory_at;
    result_t result;
    request_path(handle, &result);
    text_t path = result.tag ? result.text : TEXT("/"), query = {NULL, 0};
    for (size_t i = 0; i < path.length; i++) {
        if (path.bytes[i] == '?') {
            query = after(path, i + 1);
            path.length = i;
        }
    }
    request_t request = {method_of(handle), path, query, handle, out, 0, 0};
    answer(&request);
    drop_output(request.stream);
    finish(request.body, 0, 0, &result);
    drop_request(handle);
    memory_at = kept;
}

#endif
