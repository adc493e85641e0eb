/* What the guests here use of WASI, as the canonical ABI passes it, and a few steps over that. */
#ifndef SOCKETS_H
#define SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

#define POLL "wasi:io/poll@0.2.3"
#define STREAMS "wasi:io/streams@0.2.3"
#define TCP "wasi:sockets/tcp@0.2.3"
#define METHOD "[method]tcp-socket."

enum { WOULD_BLOCK = 8, CONNECTION_REFUSED = 14 }; /* error-code */

typedef uint32_t handle_t;

typedef struct {
    uint8_t *bytes;
    size_t length;
} text_t;

/* result<_, error-code> */
typedef struct {
    uint8_t is_error, code;
} done_t;

/* result<tcp-socket, error-code>, and with the streams behind it */
typedef struct {
    uint8_t is_error;
    union {
        handle_t handles[3];
        uint8_t code;
    } value;
} handles_t;

/* result<list<u8>, stream-error>; the same without a list has another layout, but the same tag */
typedef struct {
    uint8_t is_error;
    text_t bytes;
} read_t;

IMPORT("wasi:cli/environment@0.2.3", "get-environment") extern void get_environment(text_t *to);
IMPORT("wasi:sockets/instance-network@0.2.3", "instance-network")
extern handle_t instance_network(void);
IMPORT("wasi:sockets/tcp-create-socket@0.2.3", "create-tcp-socket")
extern void create_tcp_socket(uint32_t family, handles_t *to);

/* The address: family, port, four bytes, and what only IPv6 needs. */
#define ADDRESS                                                                                    \
    uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t,      \
        uint32_t, uint32_t, uint32_t
#define IPV4(port, a, b, c, d) 0, port, a, b, c, d, 0, 0, 0, 0, 0, 0

IMPORT(TCP, METHOD "start-bind")
extern void start_bind(handle_t socket, handle_t network, ADDRESS, done_t *to);
IMPORT(TCP, METHOD "finish-bind") extern void finish_bind(handle_t socket, done_t *to);
IMPORT(TCP, METHOD "start-listen") extern void start_listen(handle_t socket, done_t *to);
IMPORT(TCP, METHOD "finish-listen") extern void finish_listen(handle_t socket, done_t *to);
IMPORT(TCP, METHOD "accept") extern void accept(handle_t socket, handles_t *to);
IMPORT(TCP, METHOD "start-connect")
extern void start_connect(handle_t socket, handle_t network, ADDRESS, done_t *to);
IMPORT(TCP, METHOD "finish-connect") extern void finish_connect(handle_t socket, handles_t *to);
IMPORT(TCP, METHOD "subscribe") extern handle_t subscribe_socket(handle_t socket);
IMPORT(TCP, "[resource-drop]tcp-socket") extern void drop_socket(handle_t socket);

IMPORT(POLL, "[method]pollable.block") extern void block(handle_t pollable);
IMPORT(POLL, "[resource-drop]pollable") extern void drop_pollable(handle_t pollable);
IMPORT(POLL, "poll") extern void poll(const handle_t *pollables, size_t count, text_t *to);

IMPORT(STREAMS, "[method]input-stream.read")
extern void read_some(handle_t input, uint64_t length, read_t *to);
IMPORT(STREAMS, "[method]input-stream.blocking-read")
extern void blocking_read(handle_t input, uint64_t length, read_t *to);
IMPORT(STREAMS, "[method]input-stream.subscribe") extern handle_t subscribe_input(handle_t input);
IMPORT(STREAMS, "[method]output-stream.blocking-write-and-flush")
extern void blocking_write(handle_t output, const uint8_t *bytes, size_t length, read_t *to);
IMPORT(STREAMS, "[resource-drop]input-stream") extern void drop_input(handle_t input);
IMPORT(STREAMS, "[resource-drop]output-stream") extern void drop_output(handle_t output);

static uint8_t scratch[65536];
static size_t scratch_used;

/* Results of the host; `scratch_used = 0` takes all of them back. */
EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)old, (void)old_size;
    scratch_used = (scratch_used + align - 1) & ~(align - 1);
    if (scratch_used + size > sizeof(scratch)) {
        __builtin_trap();
    }
    scratch_used += size;
    return scratch + scratch_used - size;
}

static void require(bool is_true) {
    if (!is_true) {
        __builtin_trap();
    }
}

/* Return the number that the variable POOL_PORT holds. */
static uint32_t port_of_environment(void) {
    static const char name[] = "POOL_PORT";
    text_t variables;
    get_environment(&variables);
    const text_t *texts = (const text_t *)variables.bytes;
    for (size_t i = 0; i < variables.length; i++) {
        const text_t *key = &texts[2 * i], *value = &texts[2 * i + 1];
        bool is_same = key->length == sizeof(name) - 1;
        for (size_t at = 0; is_same && at < key->length; at++) {
            is_same = key->bytes[at] == (uint8_t)name[at];
        }
        if (is_same) {
            uint32_t number = 0;
            for (size_t at = 0; at < value->length; at++) {
                number = 10 * number + value->bytes[at] - '0';
            }
            return number;
        }
    }
    __builtin_trap();
}

#endif
