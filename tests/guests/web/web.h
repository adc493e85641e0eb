/* wasi:http 0.2.0 as a guest in C imports it, by hand: the canonical ABI and nothing else. */
#ifndef WEB_H
#define WEB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define TYPES(name) IMPORT("wasi:http/types@0.2.0", name)
#define STREAMS(name) IMPORT("wasi:io/streams@0.2.0", name)

#define TEXT(literal) (literal), sizeof(literal) - 1

typedef uint32_t handle_t;

typedef struct {
    uint8_t *bytes;
    size_t length;
} text_t;

/* option<string> */
typedef struct {
    uint8_t is_some;
    text_t text;
} maybe_text_t;

/* Room for the result of any of these functions. */
typedef struct {
    union {
        uint8_t is_error; /* of a result */
        uint8_t is_some;  /* of an option */
    };
    union {
        handle_t handle;
        text_t bytes;
        uint32_t kind;
    };
    _Alignas(8) uint8_t rest[56];
} result_t;

TYPES("[method]incoming-request.method") extern void request_method(handle_t, result_t *);
TYPES("[method]incoming-request.path-with-query") extern void request_path(handle_t, maybe_text_t *);
TYPES("[method]incoming-request.headers") extern handle_t request_headers(handle_t);
TYPES("[method]incoming-request.consume") extern void request_consume(handle_t, result_t *);
TYPES("[resource-drop]incoming-request") extern void drop_request(handle_t);
TYPES("[method]incoming-body.stream") extern void body_stream(handle_t, result_t *);
TYPES("[static]incoming-body.finish") extern handle_t finish_incoming(handle_t);
TYPES("[resource-drop]incoming-body") extern void drop_incoming(handle_t);
TYPES("[method]future-trailers.subscribe") extern handle_t subscribe_trailers(handle_t);
TYPES("[method]future-trailers.get") extern void get_trailers(handle_t, result_t *);
TYPES("[resource-drop]future-trailers") extern void drop_trailers(handle_t);
TYPES("[constructor]fields") extern handle_t new_fields(void);
TYPES("[method]fields.append")
extern void append_field(handle_t, const char *, size_t, const char *, size_t, result_t *);
TYPES("[method]fields.entries") extern void field_entries(handle_t, text_t *);
TYPES("[method]fields.clone") extern handle_t clone_fields(handle_t);
TYPES("[resource-drop]fields") extern void drop_fields(handle_t);
TYPES("[constructor]outgoing-response") extern handle_t new_response(handle_t);
TYPES("[method]outgoing-response.set-status-code")
extern uint32_t set_status(handle_t, uint32_t);
TYPES("[method]outgoing-response.body") extern void response_body(handle_t, result_t *);
TYPES("[resource-drop]outgoing-response") extern void drop_response(handle_t);
TYPES("[static]response-outparam.set")
extern void set_response(handle_t, uint32_t, uint32_t, uint32_t, uint64_t, uint32_t, uint32_t,
                         uint32_t, uint32_t);
TYPES("[method]response-outparam.send-informational")
extern void inform(handle_t, uint32_t, handle_t, result_t *);
TYPES("[resource-drop]response-outparam") extern void drop_outparam(handle_t);
TYPES("[method]outgoing-body.write") extern void body_write(handle_t, result_t *);
TYPES("[static]outgoing-body.finish")
extern void finish_body(handle_t, uint32_t, handle_t, result_t *);
TYPES("[resource-drop]outgoing-body") extern void drop_outgoing(handle_t);

TYPES("[constructor]outgoing-request") extern handle_t new_request(handle_t);
TYPES("[method]outgoing-request.set-authority")
extern uint32_t set_authority(handle_t, uint32_t, const char *, size_t);
TYPES("[method]outgoing-request.set-path-with-query")
extern uint32_t set_path(handle_t, uint32_t, const char *, size_t);
TYPES("[method]outgoing-request.set-method")
extern uint32_t set_method(handle_t, uint32_t, const char *, size_t);
TYPES("[method]outgoing-request.set-scheme")
extern uint32_t set_scheme(handle_t, uint32_t, uint32_t, const char *, size_t);
TYPES("[method]outgoing-request.body") extern void request_body(handle_t, result_t *);
TYPES("[constructor]request-options") extern handle_t new_options(void);
TYPES("[method]request-options.set-connect-timeout")
extern uint32_t set_connect_timeout(handle_t, uint32_t, uint64_t);
TYPES("[method]future-incoming-response.subscribe") extern handle_t subscribe_future(handle_t);
TYPES("[method]future-incoming-response.get") extern void future_get(handle_t, result_t *);
TYPES("[resource-drop]future-incoming-response") extern void drop_future(handle_t);
TYPES("[method]incoming-response.status") extern uint32_t answer_status(handle_t);
TYPES("[method]incoming-response.headers") extern handle_t answer_headers(handle_t);
TYPES("[method]incoming-response.consume") extern void answer_consume(handle_t, result_t *);
TYPES("[resource-drop]incoming-response") extern void drop_answer(handle_t);
IMPORT("wasi:http/outgoing-handler@0.2.0", "handle")
extern void send_request(handle_t, uint32_t, handle_t, result_t *);

IMPORT("wasi:clocks/monotonic-clock@0.2.0", "subscribe-duration")
extern handle_t subscribe_duration(uint64_t);
IMPORT("wasi:io/poll@0.2.0", "[method]pollable.block") extern void block_on(handle_t);
IMPORT("wasi:io/poll@0.2.0", "[resource-drop]pollable") extern void drop_pollable(handle_t);
IMPORT("wasi:io/poll@0.2.0", "poll") extern void poll(const handle_t *, size_t, text_t *);
STREAMS("[method]input-stream.blocking-read")
extern void read_some(handle_t, uint64_t, result_t *);
STREAMS("[resource-drop]input-stream") extern void drop_input(handle_t);
STREAMS("[method]output-stream.blocking-write-and-flush")
extern void write_and_flush(handle_t, const void *, size_t, result_t *);
STREAMS("[resource-drop]output-stream") extern void drop_output(handle_t);

/* Memory of one request: it is all given back by `memory_end`. */
extern uint8_t __heap_base;
static uintptr_t memory_at;

static void memory_end(void) {
    memory_at = (uintptr_t)&__heap_base;
}

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    if (memory_at == 0) {
        memory_end();
    }
    memory_at = (memory_at + align - 1) & ~(align - 1);
    void *new = (void *)memory_at;
    memory_at += size;
    size_t have = __builtin_wasm_memory_size(0) * 65536;
    if (memory_at > have && __builtin_wasm_memory_grow(0, (memory_at - have) / 65536 + 1) == SIZE_MAX) {
        __builtin_trap();
    }
    __builtin_memcpy(new, old, old_size < size ? old_size : size);
    return new;
}

#endif
