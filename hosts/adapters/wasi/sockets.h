/* wasi:sockets, which nobody gets: making a socket and looking up a name answer `access-denied`.
 *
 * So no guest can hold one of these resources, and their methods cannot be called. They are here
 * because guests import them, used or not; each is a trap of the right shape.
 */
#ifndef SOCKETS_H
#define SOCKETS_H

#include "io.h"

#define NETWORK "wasi:sockets/network@0.2.12"
#define TCP "wasi:sockets/tcp@0.2.12#[method]"
#define UDP "wasi:sockets/udp@0.2.12#[method]"
#define LOOKUP "wasi:sockets/ip-name-lookup@0.2.12#[method]"

enum { SOCKET_ERROR_ACCESS_DENIED = 1 };

IMPORT("[export]" NETWORK, "[resource-new]network") extern handle_t network_new(void *rep);

/* Any result<resource, error-code>. */
static number_t *denied(void) {
    static number_t result;
    result = (number_t){.is_error = 1, .value.code = SOCKET_ERROR_ACCESS_DENIED};
    scratch_end();
    return &result;
}

EXPORT("wasi:sockets/instance-network@0.2.12#instance-network") handle_t instance_network(void) {
    return network_new(NULL);
}

EXPORT("wasi:sockets/tcp-create-socket@0.2.12#create-tcp-socket")
number_t *create_tcp_socket(uint32_t family) {
    (void)family;
    return denied();
}

EXPORT("wasi:sockets/udp-create-socket@0.2.12#create-udp-socket")
number_t *create_udp_socket(uint32_t family) {
    (void)family;
    return denied();
}

EXPORT("wasi:sockets/ip-name-lookup@0.2.12#resolve-addresses")
number_t *resolve_addresses(const void *network, const uint8_t *name, size_t length) {
    (void)network, (void)name, (void)length;
    return denied();
}

/* ---- what cannot be called ------------------------------------------------------------------ */

#define DROP(name, c)                                                                              \
    EXPORT(name) void c(void *rep) {                                                               \
        (void)rep;                                                                                 \
    }

#define UNREACHABLE(name, c, ...)                                                                  \
    EXPORT(name) uint32_t c(__VA_ARGS__);                                                          \
    uint32_t c(__VA_ARGS__) {                                                                      \
        __builtin_trap();                                                                          \
    }

/* By what follows the resource: nothing, a word, a long word, a list, an address. */
#define NOBODY(name, c) UNREACHABLE(name, c, uint32_t)
#define NOBODY_WORD(name, c) UNREACHABLE(name, c, uint32_t, uint32_t)
#define NOBODY_LONG(name, c) UNREACHABLE(name, c, uint32_t, uint64_t)
#define NOBODY_LIST(name, c) UNREACHABLE(name, c, uint32_t, uint32_t, uint32_t)
#define NOBODY_ADDRESS(name, c)                                                                    \
    UNREACHABLE(name, c, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t,     \
                uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t)

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wc2x-extensions" /* parameters without a name */

DROP("wasi:sockets/network@0.2.12#[dtor]network", network_drop)
DROP("wasi:sockets/tcp@0.2.12#[dtor]tcp-socket", tcp_drop)
DROP("wasi:sockets/udp@0.2.12#[dtor]udp-socket", udp_drop)
DROP("wasi:sockets/udp@0.2.12#[dtor]incoming-datagram-stream", incoming_drop)
DROP("wasi:sockets/udp@0.2.12#[dtor]outgoing-datagram-stream", outgoing_drop)
DROP("wasi:sockets/ip-name-lookup@0.2.12#[dtor]resolve-address-stream", addresses_drop)

NOBODY(LOOKUP "resolve-address-stream.resolve-next-address", resolve_address_stream_resolve_next_address)
NOBODY(LOOKUP "resolve-address-stream.subscribe", resolve_address_stream_subscribe)
NOBODY_ADDRESS(TCP "tcp-socket.start-bind", tcp_socket_start_bind)
NOBODY(TCP "tcp-socket.finish-bind", tcp_socket_finish_bind)
NOBODY_ADDRESS(TCP "tcp-socket.start-connect", tcp_socket_start_connect)
NOBODY(TCP "tcp-socket.finish-connect", tcp_socket_finish_connect)
NOBODY(TCP "tcp-socket.start-listen", tcp_socket_start_listen)
NOBODY(TCP "tcp-socket.finish-listen", tcp_socket_finish_listen)
NOBODY(TCP "tcp-socket.accept", tcp_socket_accept)
NOBODY(TCP "tcp-socket.local-address", tcp_socket_local_address)
NOBODY(TCP "tcp-socket.remote-address", tcp_socket_remote_address)
NOBODY(TCP "tcp-socket.is-listening", tcp_socket_is_listening)
NOBODY(TCP "tcp-socket.address-family", tcp_socket_address_family)
NOBODY_LONG(TCP "tcp-socket.set-listen-backlog-size", tcp_socket_set_listen_backlog_size)
NOBODY(TCP "tcp-socket.keep-alive-enabled", tcp_socket_keep_alive_enabled)
NOBODY_WORD(TCP "tcp-socket.set-keep-alive-enabled", tcp_socket_set_keep_alive_enabled)
NOBODY(TCP "tcp-socket.keep-alive-idle-time", tcp_socket_keep_alive_idle_time)
NOBODY_LONG(TCP "tcp-socket.set-keep-alive-idle-time", tcp_socket_set_keep_alive_idle_time)
NOBODY(TCP "tcp-socket.keep-alive-interval", tcp_socket_keep_alive_interval)
NOBODY_LONG(TCP "tcp-socket.set-keep-alive-interval", tcp_socket_set_keep_alive_interval)
NOBODY(TCP "tcp-socket.keep-alive-count", tcp_socket_keep_alive_count)
NOBODY_WORD(TCP "tcp-socket.set-keep-alive-count", tcp_socket_set_keep_alive_count)
NOBODY(TCP "tcp-socket.hop-limit", tcp_socket_hop_limit)
NOBODY_WORD(TCP "tcp-socket.set-hop-limit", tcp_socket_set_hop_limit)
NOBODY(TCP "tcp-socket.receive-buffer-size", tcp_socket_receive_buffer_size)
NOBODY_LONG(TCP "tcp-socket.set-receive-buffer-size", tcp_socket_set_receive_buffer_size)
NOBODY(TCP "tcp-socket.send-buffer-size", tcp_socket_send_buffer_size)
NOBODY_LONG(TCP "tcp-socket.set-send-buffer-size", tcp_socket_set_send_buffer_size)
NOBODY(TCP "tcp-socket.subscribe", tcp_socket_subscribe)
NOBODY_WORD(TCP "tcp-socket.shutdown", tcp_socket_shutdown)
NOBODY_ADDRESS(UDP "udp-socket.start-bind", udp_socket_start_bind)
NOBODY(UDP "udp-socket.finish-bind", udp_socket_finish_bind)
NOBODY_ADDRESS(UDP "udp-socket.stream", udp_socket_stream)
NOBODY(UDP "udp-socket.local-address", udp_socket_local_address)
NOBODY(UDP "udp-socket.remote-address", udp_socket_remote_address)
NOBODY(UDP "udp-socket.address-family", udp_socket_address_family)
NOBODY(UDP "udp-socket.unicast-hop-limit", udp_socket_unicast_hop_limit)
NOBODY_WORD(UDP "udp-socket.set-unicast-hop-limit", udp_socket_set_unicast_hop_limit)
NOBODY(UDP "udp-socket.receive-buffer-size", udp_socket_receive_buffer_size)
NOBODY_LONG(UDP "udp-socket.set-receive-buffer-size", udp_socket_set_receive_buffer_size)
NOBODY(UDP "udp-socket.send-buffer-size", udp_socket_send_buffer_size)
NOBODY_LONG(UDP "udp-socket.set-send-buffer-size", udp_socket_set_send_buffer_size)
NOBODY(UDP "udp-socket.subscribe", udp_socket_subscribe)
NOBODY_LONG(UDP "incoming-datagram-stream.receive", incoming_datagram_stream_receive)
NOBODY(UDP "incoming-datagram-stream.subscribe", incoming_datagram_stream_subscribe)
NOBODY(UDP "outgoing-datagram-stream.check-send", outgoing_datagram_stream_check_send)
NOBODY_LIST(UDP "outgoing-datagram-stream.send", outgoing_datagram_stream_send)
NOBODY(UDP "outgoing-datagram-stream.subscribe", outgoing_datagram_stream_subscribe)

#pragma clang diagnostic pop

#endif
