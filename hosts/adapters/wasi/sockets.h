/* wasi:sockets: networks, addresses, and looking up names. What is granted is the host's to check,
 * so a network is an empty token.
 */
#ifndef SOCKETS_H
#define SOCKETS_H

#include "output.h"

#define NETWORK "wasi:sockets/network@0.2.12"
#define LOOKUP "wasi:sockets/ip-name-lookup@0.2.12"

/* error-code of wasi:sockets: the places of those that the adapter itself answers */
enum { SOCKET_ERROR_INVALID_ARGUMENT = 3 };

/* option-name of the host */
enum {
    KEEP_ALIVE_ENABLED, KEEP_ALIVE_IDLE_TIME, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_COUNT, HOP_LIMIT,
    RECEIVE_BUFFER_SIZE, SEND_BUFFER_SIZE, LISTEN_BACKLOG_SIZE,
};

/* ip-address-family, and the cases of ip-address and ip-socket-address */
enum { IPV4, IPV6 };

#define IPV6_PARTS 8

/* ip-socket-address */
typedef struct {
    uint8_t family;
    union {
        struct {
            uint16_t port;
            uint8_t address[4];
        } ipv4;
        struct {
            uint16_t port;
            uint32_t flow_info;
            uint16_t address[IPV6_PARTS];
            uint32_t scope_id;
        } ipv6;
    } value;
} ip_socket_address_t;

/* result<ip-socket-address, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        ip_socket_address_t address;
        uint8_t code;
    } value;
} socket_address_result_t;

/* ip-address */
typedef struct {
    uint8_t family;
    union {
        uint8_t ipv4[4];
        uint16_t ipv6[IPV6_PARTS];
    } value;
} ip_address_t;

/* result<option<ip-address>, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        struct {
            uint8_t is_some;
            ip_address_t address;
        } next;
        uint8_t code;
    } value;
} next_address_t;

_Static_assert(sizeof(ip_socket_address_t) == 32, "ip-socket-address");
_Static_assert(sizeof(socket_address_result_t) == 36, "result<ip-socket-address, error-code>");
_Static_assert(sizeof(ip_address_t) == 18, "ip-address");
_Static_assert(sizeof(next_address_t) == 22, "result<option<ip-address>, error-code>");

IMPORT("[export]" NETWORK, "[resource-new]network") extern handle_t network_new(void *rep);
IMPORT("[export]" LOOKUP, "[resource-new]resolve-address-stream")
extern handle_t addresses_new(socket_t *rep);

/* ---- addresses ---------------------------------------------------------------------------- */

static void ipv4_to_bytes(uint64_t low, uint8_t bytes[4]) {
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(low >> (24 - 8 * i));
    }
}

static void ipv6_to_parts(uint64_t high, uint64_t low, uint16_t parts[IPV6_PARTS]) {
    for (unsigned i = 0; i < IPV6_PARTS; i++) {
        parts[i] = (uint16_t)((i < 4 ? high : low) >> (48 - 16 * (i % 4)));
    }
}

/* An ip-socket-address as the canonical ABI passes it in parameters: the family, then the port and
 * four bytes; or the port, the flow, eight parts and the scope.
 */
#define ADDRESS_PARAMETERS                                                                         \
    uint32_t family, uint32_t port, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t f,    \
        uint32_t g, uint32_t h, uint32_t i, uint32_t j, uint32_t scope
#define ADDRESS_ARGUMENTS family, port, b, c, d, e, f, g, h, i, j, scope

/* Return the host's form of an address. */
static address_t host_address_of(ADDRESS_PARAMETERS) {
    if (family == IPV4) {
        return (address_t){.low = b << 24 | c << 16 | d << 8 | e, .port = (uint16_t)port};
    }
    return (address_t){
        .high = (uint64_t)(c << 16 | d) << 32 | (e << 16 | f),
        .low = (uint64_t)(g << 16 | h) << 32 | (i << 16 | j),
        .port = (uint16_t)port,
        .scope = scope,
    };
}

static ip_socket_address_t guest_address_of(const address_t *address, bool is_ipv6) {
    ip_socket_address_t result = {.family = is_ipv6 ? IPV6 : IPV4};
    if (is_ipv6) {
        result.value.ipv6.port = address->port;
        result.value.ipv6.scope_id = address->scope;
        ipv6_to_parts(address->high, address->low, result.value.ipv6.address);
    } else {
        result.value.ipv4.port = address->port;
        ipv4_to_bytes(address->low, result.value.ipv4.address);
    }
    return result;
}

/* Return the host's form of an address that lies in memory. */
static address_t host_address_from(const ip_socket_address_t *address) {
    if (address->family == IPV4) {
        const uint8_t *bytes = address->value.ipv4.address;
        return host_address_of(IPV4, address->value.ipv4.port, bytes[0], bytes[1], bytes[2],
                               bytes[3], 0, 0, 0, 0, 0, 0);
    }
    const uint16_t *parts = address->value.ipv6.address;
    return host_address_of(IPV6, address->value.ipv6.port, 0, parts[0], parts[1], parts[2],
                           parts[3], parts[4], parts[5], parts[6], parts[7],
                           address->value.ipv6.scope_id);
}

/* ---- binding ------------------------------------------------------------------------------ */

static done_t begin_binding(const socket_t *socket, ADDRESS_PARAMETERS) {
    done_t done = {1, SOCKET_ERROR_INVALID_ARGUMENT};
    if ((family == IPV6) == socket->is_ipv6) {
        address_t to = host_address_of(ADDRESS_ARGUMENTS);
        host_start_bind(socket->number, to.high, to.low, to.port, to.scope, &done);
    }
    return done;
}

static done_t end_binding(const socket_t *socket) {
    done_t done;
    host_finish_bind(socket->number, &done);
    return done;
}

/* ---- networks ----------------------------------------------------------------------------- */

EXPORT("wasi:sockets/instance-network@0.2.12#instance-network") handle_t instance_network(void) {
    return network_new(NULL);
}

EXPORT(NETWORK "#[dtor]network") void network_drop(void *network) {
    (void)network;
}

/* ---- names -------------------------------------------------------------------------------- */

/* Give a socket its address, or that of its peer. */
static socket_address_result_t *address_result(const socket_t *socket, bool is_remote) {
    static socket_address_result_t result;
    address_result_t found;
    host_address(socket->number, is_remote, &found);
    result.is_error = found.is_error;
    if (found.is_error) {
        result.value.code = found.value.code;
    } else {
        result.value.address = guest_address_of(&found.value.address, socket->is_ipv6);
    }
    return &result;
}

static socket_t *make_socket(uint32_t number, bool is_ipv6) {
    socket_t *socket = cell_take();
    socket->number = number;
    socket->is_ipv6 = is_ipv6;
    return socket_share(socket);
}

EXPORT(LOOKUP "#resolve-addresses")
number_t *resolve_addresses(const void *network, const uint8_t *name, size_t length) {
    (void)network;
    static number_t result;
    host_look_up(name, length, &result);
    if (!result.is_error) {
        result.value.number = addresses_new(make_socket(result.value.number, false));
    }
    scratch_end();
    return &result;
}

EXPORT(LOOKUP "#[method]resolve-address-stream.resolve-next-address")
next_address_t *resolve_next_address(const socket_t *lookup) {
    static next_address_t result;
    found_t found;
    host_next_address(lookup->number, &found);
    __builtin_memset(&result, 0, sizeof(result));
    result.is_error = found.is_error;
    if (found.is_error) {
        result.value.code = found.value.code;
    } else if (found.value.found.is_some) {
        ip_address_t *address = &result.value.next.address;
        result.value.next.is_some = 1;
        address->family = found.value.found.is_ipv6 ? IPV6 : IPV4;
        if (address->family == IPV6) {
            ipv6_to_parts(found.value.found.high, found.value.found.low, address->value.ipv6);
        } else {
            ipv4_to_bytes(found.value.found.low, address->value.ipv4);
        }
    }
    return &result;
}

EXPORT(LOOKUP "#[method]resolve-address-stream.subscribe")
handle_t addresses_subscribe(const socket_t *lookup) {
    return make_interest(lookup->number, OF_STATE);
}

EXPORT(LOOKUP "#[dtor]resolve-address-stream") void addresses_drop(socket_t *lookup) {
    socket_leave(lookup);
}

#endif
