/* wasi:sockets/udp, over the host's numbered sockets. States and grants are the host's to check. */
#ifndef UDP_H
#define UDP_H

#include "options.h"

#define UDP "wasi:sockets/udp@0.2.12"
#define UDP_METHOD UDP "#[method]udp-socket."

/* Datagrams of one call; a guest that has or wants more calls again. */
#define RECEIVE_MAX 16
#define SEND_MAX 16

/* incoming-datagram */
typedef struct {
    text_t data;
    ip_socket_address_t remote;
} incoming_datagram_t;

/* outgoing-datagram */
typedef struct {
    text_t data;
    uint8_t has_remote;
    ip_socket_address_t remote;
} outgoing_datagram_t;

/* result<list<incoming-datagram>, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        struct {
            incoming_datagram_t *items;
            size_t length;
        } list;
        uint8_t code;
    } value;
} incoming_result_t;

/* result<tuple<incoming-datagram-stream, outgoing-datagram-stream>, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        handle_t streams[2];
        uint8_t code;
    } value;
} datagram_streams_t;

_Static_assert(sizeof(incoming_datagram_t) == 40, "incoming-datagram");
_Static_assert(sizeof(outgoing_datagram_t) == 44, "outgoing-datagram");
_Static_assert(sizeof(incoming_result_t) == 12, "result<list<incoming-datagram>, error-code>");
_Static_assert(sizeof(datagram_streams_t) == 12, "the result of stream");

IMPORT("[export]" UDP, "[resource-new]udp-socket") extern handle_t udp_new(socket_t *rep);
IMPORT("[export]" UDP, "[resource-new]incoming-datagram-stream")
extern handle_t incoming_new(socket_t *rep);
IMPORT("[export]" UDP, "[resource-new]outgoing-datagram-stream")
extern handle_t outgoing_new(socket_t *rep);

EXPORT("wasi:sockets/udp-create-socket@0.2.12#create-udp-socket")
number_t *create_udp_socket(uint32_t family) {
    number_t created;
    host_socket_create(family == IPV6, true, &created);
    if (!created.is_error) {
        created = handle_of(udp_new(make_socket(created.value.number, family == IPV6)));
    }
    return number_result(created);
}

EXPORT(UDP "#[dtor]udp-socket") void udp_drop(socket_t *socket) {
    socket_leave(socket);
}

EXPORT(UDP "#[dtor]incoming-datagram-stream") void incoming_drop(socket_t *socket) {
    socket_leave(socket);
}

EXPORT(UDP "#[dtor]outgoing-datagram-stream") void outgoing_drop(socket_t *socket) {
    socket_leave(socket);
}

/* ---- binding and streams ------------------------------------------------------------------ */

EXPORT(UDP_METHOD "start-bind")
done_t *udp_start_bind(const socket_t *socket, const void *network, ADDRESS_PARAMETERS) {
    (void)network;
    return done_result(begin_binding(socket, ADDRESS_ARGUMENTS));
}

EXPORT(UDP_METHOD "finish-bind") done_t *udp_finish_bind(const socket_t *socket) {
    return done_result(end_binding(socket));
}

/* All streams of a socket are the same two; those of an earlier call go on working. */
EXPORT(UDP_METHOD "stream")
datagram_streams_t *udp_stream(socket_t *socket, uint32_t has_remote, ADDRESS_PARAMETERS) {
    static datagram_streams_t result;
    done_t done = {1, SOCKET_ERROR_INVALID_ARGUMENT};
    if (!has_remote || (family == IPV6) == socket->is_ipv6) {
        address_t to = {0};
        if (has_remote) {
            to = host_address_of(ADDRESS_ARGUMENTS);
        }
        host_associate(socket->number, has_remote, to.high, to.low, to.port, to.scope, &done);
    }
    result.is_error = done.is_error;
    if (done.is_error) {
        result.value.code = done.code;
    } else {
        result.value.streams[0] = incoming_new(socket_share(socket));
        result.value.streams[1] = outgoing_new(socket_share(socket));
    }
    return &result;
}

/* ---- datagrams ---------------------------------------------------------------------------- */

EXPORT(UDP "#[method]incoming-datagram-stream.receive")
incoming_result_t *udp_receive(const socket_t *socket, uint64_t results_max) {
    static incoming_result_t result;
    size_t length = 0, most = results_max < RECEIVE_MAX ? (size_t)results_max : RECEIVE_MAX;
    incoming_datagram_t *items = scratch(most * sizeof(*items), _Alignof(incoming_datagram_t));
    datagram_result_t found = {0};
    while (length < most) {
        host_receive_datagram(socket->number, &found);
        if (found.is_error || !found.value.received.is_some) {
            break;
        }
        items[length].data = frame_decode(found.value.received.datagram.frame);
        items[length++].remote =
            guest_address_of(&found.value.received.datagram.sender, socket->is_ipv6);
    }
    result.is_error = found.is_error && length == 0;
    if (result.is_error) {
        result.value.code = found.value.code;
    } else {
        result.value.list.items = items;
        result.value.list.length = length;
    }
    scratch_end();
    return &result;
}

EXPORT(UDP "#[method]outgoing-datagram-stream.check-send")
long_number_t *udp_check_send(const socket_t *socket) {
    static long_number_t result;
    host_offered_datagrams(socket->number, &result);
    return &result;
}

/* Send one; false with `done` set when it was not sent. */
static bool send_one(const socket_t *socket, const outgoing_datagram_t *datagram, done_t *done) {
    address_t to = {0};
    *done = (done_t){1, SOCKET_ERROR_INVALID_ARGUMENT};
    if (datagram->has_remote) {
        if ((datagram->remote.family == IPV6) != socket->is_ipv6) {
            return false;
        }
        to = host_address_from(&datagram->remote);
    }
    text_t frame = frame_encode(datagram->data.bytes, datagram->data.length);
    host_send_datagram(socket->number, frame.bytes, frame.length, datagram->has_remote, to.high,
                       to.low, to.port, to.scope, done);
    return !done->is_error && done->code; /* result<bool, socket-error>: not false */
}

EXPORT(UDP "#[method]outgoing-datagram-stream.send")
long_number_t *udp_send(const socket_t *socket, const outgoing_datagram_t *items, size_t length) {
    static long_number_t result;
    done_t done = {0};
    size_t sent = 0;
    length = length < SEND_MAX ? length : SEND_MAX;
    while (sent < length && send_one(socket, &items[sent], &done)) {
        sent++;
    }
    /* What was sent counts more than what failed behind it. */
    result.is_error = done.is_error && sent == 0;
    if (result.is_error) {
        result.value.code = done.code;
    } else {
        result.value.number = sent;
    }
    scratch_end();
    return &result;
}

EXPORT(UDP_METHOD "subscribe") handle_t udp_subscribe(const socket_t *socket) {
    return make_interest(socket->number, OF_STATE);
}

EXPORT(UDP "#[method]incoming-datagram-stream.subscribe")
handle_t incoming_subscribe(const socket_t *socket) {
    return make_interest(socket->number, OF_RECEIVING);
}

EXPORT(UDP "#[method]outgoing-datagram-stream.subscribe")
handle_t outgoing_subscribe(const socket_t *socket) {
    return make_interest(socket->number, OF_SENDING);
}

/* ---- facts and options -------------------------------------------------------------------- */

EXPORT(UDP_METHOD "local-address")
socket_address_result_t *udp_local_address(const socket_t *socket) {
    return address_result(socket, false);
}

EXPORT(UDP_METHOD "remote-address")
socket_address_result_t *udp_remote_address(const socket_t *socket) {
    return address_result(socket, true);
}

EXPORT(UDP_METHOD "address-family") uint32_t udp_address_family(const socket_t *socket) {
    return socket->is_ipv6 ? IPV6 : IPV4;
}

EXPORT(UDP_METHOD "unicast-hop-limit") done_t *udp_hop_limit(const socket_t *socket) {
    return small_option(socket, HOP_LIMIT);
}

EXPORT(UDP_METHOD "set-unicast-hop-limit")
done_t *udp_set_hop_limit(const socket_t *socket, uint32_t value) {
    return set_option(socket, HOP_LIMIT, value);
}

EXPORT(UDP_METHOD "receive-buffer-size")
long_number_t *udp_receive_buffer(const socket_t *socket) {
    return long_option(socket, RECEIVE_BUFFER_SIZE);
}

EXPORT(UDP_METHOD "set-receive-buffer-size")
done_t *udp_set_receive_buffer(const socket_t *socket, uint64_t value) {
    return set_option(socket, RECEIVE_BUFFER_SIZE, value);
}

EXPORT(UDP_METHOD "send-buffer-size") long_number_t *udp_send_buffer(const socket_t *socket) {
    return long_option(socket, SEND_BUFFER_SIZE);
}

EXPORT(UDP_METHOD "set-send-buffer-size")
done_t *udp_set_send_buffer(const socket_t *socket, uint64_t value) {
    return set_option(socket, SEND_BUFFER_SIZE, value);
}

#endif
