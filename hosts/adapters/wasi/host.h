/* The host's functions as the canonical ABI passes them, and the frames in which bytes travel.
 *
 * The names and what they do: `wit/host.wit`.
 */
#ifndef HOST_H
#define HOST_H

#include "memory.h"

#define SYSTEM(name) IMPORT("lattice:wasi-host/system@0.1.0", name)
#define SOCKETS(name) IMPORT("lattice:wasi-host/sockets@0.1.0", name)
#define WAITING(name) IMPORT("lattice:wasi-host/waiting@0.1.0", name)

/* A `string` or `list<u8>`; also any other list, whose length then counts its items. */
typedef struct {
    uint8_t *bytes;
    size_t length;
} text_t;

/* error-code: the places of those that the adapter itself answers */
enum { ERROR_BAD_DESCRIPTOR = 3, ERROR_INVALID = 12, ERROR_UNSUPPORTED = 27 };

/* result<_, error-code> */
typedef struct {
    uint8_t is_error;
    uint8_t code;
} done_t;

/* result<u32, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        uint32_t number;
        uint8_t code;
    } value;
} number_t;

/* result<string, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        text_t text;
        uint8_t code;
    } value;
} frame_t;

typedef struct {
    uint8_t type;
    uint64_t links, size, accessed, modified, changed, device, inode;
} status_t;

/* result<status, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        status_t status;
        uint8_t code;
    } value;
} status_result_t;

/* option<entry> */
typedef struct {
    uint8_t is_some;
    struct {
        uint8_t type;
        text_t name;
    } entry;
} entry_t;

/* tuple<u32, string> */
typedef struct {
    uint32_t number;
    text_t path;
} directory_t;

typedef struct {
    directory_t *items;
    size_t length;
} directories_t;

/* result<u64, socket-error> */
typedef struct {
    uint8_t is_error;
    union {
        uint64_t number;
        uint8_t code;
    } value;
} long_number_t;

/* result<option<string>, socket-error> */
typedef struct {
    uint8_t is_error;
    union {
        struct {
            uint8_t is_some;
            text_t frame;
        } received;
        uint8_t code;
    } value;
} received_t;

/* address */
typedef struct {
    uint64_t high, low;
    uint16_t port;
    uint32_t scope;
} address_t;

/* result<address, socket-error> */
typedef struct {
    uint8_t is_error;
    union {
        address_t address;
        uint8_t code;
    } value;
} address_result_t;

/* result<option<tuple<string, address>>, socket-error> */
typedef struct {
    uint8_t is_error;
    union {
        struct {
            uint8_t is_some;
            struct {
                text_t frame;
                address_t sender;
            } datagram;
        } received;
        uint8_t code;
    } value;
} datagram_result_t;

/* result<option<tuple<u64, u64, bool>>, socket-error> */
typedef struct {
    uint8_t is_error;
    union {
        struct {
            uint8_t is_some;
            uint64_t high, low;
            uint8_t is_ipv6;
        } found;
        uint8_t code;
    } value;
} found_t;

_Static_assert(sizeof(long_number_t) == 16, "result<u64, socket-error>");
_Static_assert(sizeof(received_t) == 16, "result<option<string>, socket-error>");
_Static_assert(sizeof(address_result_t) == 32, "result<address, socket-error>");
_Static_assert(sizeof(datagram_result_t) == 48, "the result of receive-datagram");
_Static_assert(sizeof(found_t) == 40, "result<option<tuple<u64, u64, bool>>, socket-error>");
_Static_assert(sizeof(done_t) == 2, "result<_, error-code>");
_Static_assert(sizeof(number_t) == 8, "result<u32, error-code>");
_Static_assert(sizeof(frame_t) == 12, "result<string, error-code>");
_Static_assert(sizeof(status_t) == 64, "status");
_Static_assert(sizeof(status_result_t) == 72, "result<status, error-code>");
_Static_assert(sizeof(entry_t) == 16, "option<entry>");
_Static_assert(sizeof(directory_t) == 12, "tuple<u32, string>");

SYSTEM("monotonic-now") extern uint64_t host_monotonic_now(void);
SYSTEM("wall-now") extern uint64_t host_wall_now(void);
SYSTEM("environment") extern void host_environment(text_t *result);
SYSTEM("arguments") extern void host_arguments(text_t *result);
SYSTEM("log-write")
extern void host_log_write(uint32_t is_error, const uint8_t *bytes, size_t length);
SYSTEM("exit") extern void host_exit(uint32_t status);
SYSTEM("directories") extern void host_directories(directories_t *result);
SYSTEM("next-entry") extern void host_next_entry(uint32_t listing, entry_t *result);
SYSTEM("is-writable") extern uint32_t host_is_writable(uint32_t file);
SYSTEM("close") extern void host_close(uint32_t file);

SOCKETS("create")
extern void host_socket_create(uint32_t is_ipv6, uint32_t is_udp, number_t *result);
SOCKETS("start-bind")
extern void host_start_bind(uint32_t socket, uint64_t high, uint64_t low, uint32_t port,
                            uint32_t scope, done_t *result);
SOCKETS("finish-bind") extern void host_finish_bind(uint32_t socket, done_t *result);
SOCKETS("start-connect")
extern void host_start_connect(uint32_t socket, uint64_t high, uint64_t low, uint32_t port,
                               uint32_t scope, done_t *result);
SOCKETS("finish-connect") extern void host_finish_connect(uint32_t socket, done_t *result);
SOCKETS("start-listen") extern void host_start_listen(uint32_t socket, done_t *result);
SOCKETS("finish-listen") extern void host_finish_listen(uint32_t socket, done_t *result);
SOCKETS("accept") extern void host_accept(uint32_t socket, number_t *result);
SOCKETS("address-of")
extern void host_address(uint32_t socket, uint32_t is_remote, address_result_t *result);
SOCKETS("is-listening") extern uint32_t host_is_listening(uint32_t socket);
SOCKETS("get-option")
extern void host_get_option(uint32_t socket, uint32_t name, long_number_t *result);
SOCKETS("set-option")
extern void host_set_option(uint32_t socket, uint32_t name, uint64_t value, done_t *result);
SOCKETS("shutdown")
extern void host_shutdown(uint32_t socket, uint32_t direction, done_t *result);
SOCKETS("receive")
extern void host_receive(uint32_t socket, uint32_t length, received_t *result);
SOCKETS("offered") extern void host_offered(uint32_t socket, long_number_t *result);
SOCKETS("send")
extern void host_send(uint32_t socket, const uint8_t *bytes, size_t length, done_t *result);
SOCKETS("associate")
extern void host_associate(uint32_t socket, uint32_t has_remote, uint64_t high, uint64_t low,
                           uint32_t port, uint32_t scope, done_t *result);
SOCKETS("receive-datagram")
extern void host_receive_datagram(uint32_t socket, datagram_result_t *result);
SOCKETS("offered-datagrams")
extern void host_offered_datagrams(uint32_t socket, long_number_t *result);
SOCKETS("send-datagram")
extern void host_send_datagram(uint32_t socket, const uint8_t *bytes, size_t length,
                               uint32_t has_address, uint64_t high, uint64_t low, uint32_t port,
                               uint32_t scope, done_t *result);
SOCKETS("look-up")
extern void host_look_up(const uint8_t *name, size_t length, number_t *result);
SOCKETS("next-address") extern void host_next_address(uint32_t lookup, found_t *result);
SOCKETS("is-ready") extern uint32_t host_is_ready(uint32_t interest);
SOCKETS("close") extern void host_socket_close(uint32_t number);

WAITING("wait-ready")
extern void host_wait_ready(const uint32_t *interests, size_t count, uint64_t instant);
WAITING("sleep-until") extern void host_sleep_until(uint64_t instant);
WAITING("open-at")
extern void host_open_at(uint32_t directory, const uint8_t *path, size_t length, uint32_t mode,
                         number_t *result);
WAITING("read")
extern void host_read(uint32_t file, uint32_t length, uint64_t offset, frame_t *result);
WAITING("read-input") extern void host_read_input(uint32_t length, frame_t *result);
WAITING("write")
extern void host_write(uint32_t file, const uint8_t *bytes, size_t length, uint32_t has_offset,
                       uint64_t offset, done_t *result);
WAITING("resize") extern void host_resize(uint32_t file, uint64_t size, done_t *result);
WAITING("sync") extern void host_sync(uint32_t file, done_t *result);
WAITING("stat") extern void host_stat(uint32_t file, status_result_t *result);
WAITING("stat-at")
extern void host_stat_at(uint32_t directory, const uint8_t *path, size_t length, uint32_t follow,
                         status_result_t *result);
WAITING("set-times")
extern void host_set_times(uint32_t file, uint32_t has_accessed, uint64_t accessed,
                           uint32_t has_modified, uint64_t modified, done_t *result);
WAITING("set-times-at")
extern void host_set_times_at(uint32_t directory, const uint8_t *path, size_t length,
                              uint32_t follow, uint32_t has_accessed, uint64_t accessed,
                              uint32_t has_modified, uint64_t modified, done_t *result);
WAITING("list-directory") extern void host_list_directory(uint32_t directory, number_t *result);
WAITING("read-link")
extern void host_read_link(uint32_t directory, const uint8_t *path, size_t length,
                           frame_t *result);
WAITING("make-directory")
extern void host_make_directory(uint32_t directory, const uint8_t *path, size_t length,
                                done_t *result);
WAITING("remove-directory")
extern void host_remove_directory(uint32_t directory, const uint8_t *path, size_t length,
                                  done_t *result);
WAITING("unlink")
extern void host_unlink(uint32_t directory, const uint8_t *path, size_t length, done_t *result);
WAITING("rename")
extern void host_rename(uint32_t directory, const uint8_t *path, size_t length,
                        uint32_t to_directory, const uint8_t *to_path, size_t to_length,
                        done_t *result);

/* ---------------------------------------------------------------------------------------------
 * Frames: for each byte the character of the same number, in UTF-8.
 */

/* Return how many bytes at the beginning are ASCII; most of what guests read and write is. */
static size_t ascii_length(const uint8_t *bytes, size_t length) {
    size_t at = 0;
    for (uint64_t word; at + sizeof(word) <= length; at += sizeof(word)) {
        __builtin_memcpy(&word, bytes + at, sizeof(word));
        if (word & 0x8080808080808080u) {
            break;
        }
    }
    while (at < length && bytes[at] < 0x80) {
        at++;
    }
    return at;
}

/* Return the frame of some bytes; it is the bytes themselves when all are ASCII. */
static text_t frame_encode(const uint8_t *bytes, size_t length) {
    size_t at = ascii_length(bytes, length);
    if (at == length) {
        return (text_t){(uint8_t *)bytes, length};
    }
    uint8_t *out = scratch(at + 2 * (length - at), 1);
    __builtin_memcpy(out, bytes, at);
    for (size_t i = at; i < length; i++) {
        uint8_t byte = bytes[i];
        if (byte < 0x80) {
            out[at++] = byte;
        } else {
            out[at++] = 0xC0 | byte >> 6;
            out[at++] = 0x80 | (byte & 0x3F);
        }
    }
    return (text_t){out, at};
}

/* Turn a frame from the host into its bytes, in its place; trap when it is none. */
static text_t frame_decode(text_t frame) {
    uint8_t *bytes = frame.bytes;
    size_t to = ascii_length(bytes, frame.length);
    for (size_t from = to; from < frame.length; from++) {
        uint8_t byte = bytes[from];
        if (byte >= 0x80) {
            if (byte > 0xC3 || from + 1 == frame.length) {
                __builtin_trap();
            }
            byte = (uint8_t)(byte << 6) | (bytes[++from] & 0x3F);
        }
        bytes[to++] = byte;
    }
    return (text_t){bytes, to};
}

#endif
