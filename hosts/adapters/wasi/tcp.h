/* wasi:sockets/tcp, over the host's numbered sockets. States and grants are the host's to check. */
#ifndef TCP_H
#define TCP_H

#include "options.h"

#define TCP "wasi:sockets/tcp@0.2.12"
#define TCP_METHOD TCP "#[method]tcp-socket."

/* result<tuple<input-stream, output-stream>, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        handle_t streams[2];
        uint8_t code;
    } value;
} streams_result_t;

/* result<tuple<tcp-socket, input-stream, output-stream>, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        struct {
            handle_t socket, streams[2];
        } accepted;
        uint8_t code;
    } value;
} accept_result_t;

_Static_assert(sizeof(streams_result_t) == 12, "the result of finish-connect");
_Static_assert(sizeof(accept_result_t) == 16, "the result of accept");

IMPORT("[export]" TCP, "[resource-new]tcp-socket") extern handle_t tcp_new(socket_t *rep);

static void make_streams(socket_t *socket, handle_t streams[2]) {
    streams[0] = make_socket_input(socket);
    streams[1] = make_socket_output(socket);
}

EXPORT("wasi:sockets/tcp-create-socket@0.2.12#create-tcp-socket")
number_t *create_tcp_socket(uint32_t family) {
    number_t created;
    host_socket_create(family == IPV6, false, &created);
    if (!created.is_error) {
        created = handle_of(tcp_new(make_socket(created.value.number, family == IPV6)));
    }
    return number_result(created);
}

EXPORT(TCP "#[dtor]tcp-socket") void tcp_drop(socket_t *socket) {
    socket_leave(socket);
}

/* ---- binding, connecting, listening ------------------------------------------------------- */

EXPORT(TCP_METHOD "start-bind")
done_t *start_bind(const socket_t *socket, const void *network, ADDRESS_PARAMETERS) {
    (void)network;
    return done_result(begin_binding(socket, ADDRESS_ARGUMENTS));
}

EXPORT(TCP_METHOD "finish-bind") done_t *finish_bind(const socket_t *socket) {
    return done_result(end_binding(socket));
}

EXPORT(TCP_METHOD "start-connect")
done_t *start_connect(const socket_t *socket, const void *network, ADDRESS_PARAMETERS) {
    (void)network;
    done_t done = {1, SOCKET_ERROR_INVALID_ARGUMENT};
    if ((family == IPV6) == socket->is_ipv6) {
        address_t to = host_address_of(ADDRESS_ARGUMENTS);
        host_start_connect(socket->number, to.high, to.low, to.port, to.scope, &done);
    }
    return done_result(done);
}

EXPORT(TCP_METHOD "finish-connect") streams_result_t *finish_connect(socket_t *socket) {
    static streams_result_t result;
    done_t done;
    host_finish_connect(socket->number, &done);
    result.is_error = done.is_error;
    if (done.is_error) {
        result.value.code = done.code;
    } else {
        make_streams(socket, result.value.streams);
    }
    return &result;
}

EXPORT(TCP_METHOD "start-listen") done_t *start_listen(const socket_t *socket) {
    done_t done;
    host_start_listen(socket->number, &done);
    return done_result(done);
}

EXPORT(TCP_METHOD "finish-listen") done_t *finish_listen(const socket_t *socket) {
    done_t done;
    host_finish_listen(socket->number, &done);
    return done_result(done);
}

EXPORT(TCP_METHOD "accept") accept_result_t *tcp_accept(const socket_t *socket) {
    static accept_result_t result;
    number_t accepted;
    host_accept(socket->number, &accepted);
    result.is_error = accepted.is_error;
    if (accepted.is_error) {
        result.value.code = accepted.value.code;
    } else {
        socket_t *made = make_socket(accepted.value.number, socket->is_ipv6);
        make_streams(made, result.value.accepted.streams);
        result.value.accepted.socket = tcp_new(made);
    }
    return &result;
}

EXPORT(TCP_METHOD "subscribe") handle_t tcp_subscribe(const socket_t *socket) {
    return make_interest(socket->number, OF_STATE);
}

EXPORT(TCP_METHOD "shutdown") done_t *tcp_shutdown(const socket_t *socket, uint32_t direction) {
    done_t done;
    host_shutdown(socket->number, direction, &done);
    return done_result(done);
}

EXPORT(NETWORK "#network-error-code") done_t *network_error_code(const error_t *error) {
    /* option<error-code> has the layout of `done_t` */
    return done_result((done_t){error->is_of_socket, error->code});
}

/* ---- facts -------------------------------------------------------------------------------- */

EXPORT(TCP_METHOD "local-address")
socket_address_result_t *tcp_local_address(const socket_t *socket) {
    return address_result(socket, false);
}

EXPORT(TCP_METHOD "remote-address")
socket_address_result_t *tcp_remote_address(const socket_t *socket) {
    return address_result(socket, true);
}

EXPORT(TCP_METHOD "is-listening") uint32_t tcp_is_listening(const socket_t *socket) {
    return host_is_listening(socket->number);
}

EXPORT(TCP_METHOD "address-family") uint32_t tcp_address_family(const socket_t *socket) {
    return socket->is_ipv6 ? IPV6 : IPV4;
}

/* ---- options ------------------------------------------------------------------------------ */

#define GETTER(name, c, type, function, option)                                                    \
    EXPORT(TCP_METHOD name) type *c(const socket_t *socket) {                                      \
        return function(socket, option);                                                           \
    }

#define SETTER(name, c, type, option)                                                              \
    EXPORT(TCP_METHOD name) done_t *c(const socket_t *socket, type value) {                        \
        return set_option(socket, option, value);                                                  \
    }

GETTER("keep-alive-enabled", keep_alive_enabled, done_t, small_option, KEEP_ALIVE_ENABLED)
GETTER("keep-alive-idle-time", keep_alive_idle, long_number_t, long_option, KEEP_ALIVE_IDLE_TIME)
GETTER("keep-alive-interval", keep_alive_interval, long_number_t, long_option, KEEP_ALIVE_INTERVAL)
GETTER("keep-alive-count", keep_alive_count, number_t, option_of, KEEP_ALIVE_COUNT)
GETTER("hop-limit", hop_limit, done_t, small_option, HOP_LIMIT)
GETTER("receive-buffer-size", receive_buffer, long_number_t, long_option, RECEIVE_BUFFER_SIZE)
GETTER("send-buffer-size", send_buffer, long_number_t, long_option, SEND_BUFFER_SIZE)

SETTER("set-listen-backlog-size", set_backlog, uint64_t, LISTEN_BACKLOG_SIZE)
SETTER("set-keep-alive-enabled", set_keep_alive_enabled, uint32_t, KEEP_ALIVE_ENABLED)
SETTER("set-keep-alive-idle-time", set_keep_alive_idle, uint64_t, KEEP_ALIVE_IDLE_TIME)
SETTER("set-keep-alive-interval", set_keep_alive_interval, uint64_t, KEEP_ALIVE_INTERVAL)
SETTER("set-keep-alive-count", set_keep_alive_count, uint32_t, KEEP_ALIVE_COUNT)
SETTER("set-hop-limit", set_hop_limit, uint32_t, HOP_LIMIT)
SETTER("set-receive-buffer-size", set_receive_buffer, uint64_t, RECEIVE_BUFFER_SIZE)
SETTER("set-send-buffer-size", set_send_buffer, uint64_t, SEND_BUFFER_SIZE)

#endif
