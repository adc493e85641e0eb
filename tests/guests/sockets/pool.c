/* A service that keeps four connections to one server, and asks it over one after the other. */
#include "sockets.h"

enum { CONNECTIONS = 4, TRIES_MAX = 1000, PAUSE_NS = 5000000 };

IMPORT("wasi:clocks/monotonic-clock@0.2.3", "subscribe-duration")
extern handle_t subscribe_duration(uint64_t ns);

static handle_t inputs[CONNECTIONS], outputs[CONNECTIONS];
static uint32_t starts, turn;

static void wait_and_drop(handle_t pollable) {
    block(pollable);
    drop_pollable(pollable);
}

static bool open_one(handle_t network, uint32_t port, handle_t *input, handle_t *output) {
    handles_t made;
    done_t done;
    create_tcp_socket(0, &made);
    require(!made.is_error);
    handle_t socket = made.value.handles[0];
    start_connect(socket, network, IPV4(port, 127, 0, 0, 1), &done);
    require(!done.is_error);
    for (;;) {
        finish_connect(socket, &made);
        if (!made.is_error) {
            *input = made.value.handles[0];
            *output = made.value.handles[1];
            return true;
        }
        if (made.value.code != WOULD_BLOCK) {
            require(made.value.code == CONNECTION_REFUSED);
            drop_socket(socket);
            return false;
        }
        wait_and_drop(subscribe_socket(socket));
    }
}

EXPORT("test:counter/counter@0.1.0#start") void start(void) {
    uint32_t port = port_of_environment();
    handle_t network = instance_network();
    starts++;
    for (unsigned i = 0, tries = 0; i < CONNECTIONS; tries++) {
        require(tries < TRIES_MAX);
        if (open_one(network, port, &inputs[i], &outputs[i])) {
            i++;
        } else {
            wait_and_drop(subscribe_duration(PAUSE_NS)); /* the server is about to come */
        }
    }
    scratch_used = 0;
}

EXPORT("test:counter/counter@0.1.0#next") uint64_t next(void) {
    unsigned i = turn++ % CONNECTIONS;
    static const uint8_t question = '?';
    uint64_t answer = 0;
    read_t result;
    blocking_write(outputs[i], &question, 1, &result);
    require(!result.is_error);
    for (size_t have = 0; have < sizeof(answer); have += result.bytes.length) {
        blocking_read(inputs[i], sizeof(answer) - have, &result);
        require(!result.is_error);
        __builtin_memcpy((uint8_t *)&answer + have, result.bytes.bytes, result.bytes.length);
    }
    scratch_used = 0;
    return answer;
}

EXPORT("test:counter/counter@0.1.0#starts") uint32_t how_often(void) {
    return starts;
}
