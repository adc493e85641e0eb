/* A process that serves all who connect, one poll over everything at a time. */
#include "sockets.h"

enum { CONNECTIONS_MAX = 16, READ_BYTES = 64 };

typedef struct {
    handle_t socket, input, output, readable;
} connection_t;

static connection_t connections[CONNECTIONS_MAX];
static size_t count;
static uint64_t answered;

static handle_t listen_on(uint32_t port) {
    handles_t made;
    done_t done;
    create_tcp_socket(0, &made);
    require(!made.is_error);
    handle_t socket = made.value.handles[0];
    start_bind(socket, instance_network(), IPV4(port, 0, 0, 0, 0), &done);
    require(!done.is_error);
    finish_bind(socket, &done);
    require(!done.is_error);
    start_listen(socket, &done);
    require(!done.is_error);
    finish_listen(socket, &done);
    require(!done.is_error);
    return socket;
}

static void take(handle_t listener) {
    handles_t made;
    accept(listener, &made);
    if (made.is_error) {
        require(made.value.code == WOULD_BLOCK);
        return;
    }
    require(count < CONNECTIONS_MAX);
    connections[count++] = (connection_t){
        .socket = made.value.handles[0],
        .input = made.value.handles[1],
        .output = made.value.handles[2],
        .readable = subscribe_input(made.value.handles[1]),
    };
}

static void end(connection_t *connection) {
    drop_pollable(connection->readable);
    drop_input(connection->input);
    drop_output(connection->output);
    drop_socket(connection->socket);
    *connection = connections[--count];
}

/* Answer what is there; false when there will be no more. */
static bool serve(const connection_t *connection) {
    read_t questions, written;
    read_some(connection->input, READ_BYTES, &questions);
    for (size_t i = 0; !questions.is_error && i < questions.bytes.length; i++) {
        answered++;
        blocking_write(connection->output, (const uint8_t *)&answered, sizeof(answered), &written);
        if (written.is_error) {
            return false;
        }
    }
    return !questions.is_error;
}

EXPORT("wasi:cli/run@0.2.3#run") uint32_t run(void) {
    handle_t listener = listen_on(port_of_environment());
    handle_t waiting = subscribe_socket(listener);
    for (;;) {
        handle_t pollables[1 + CONNECTIONS_MAX] = {waiting};
        for (size_t i = 0; i < count; i++) {
            pollables[1 + i] = connections[i].readable;
        }
        text_t ready;
        poll(pollables, 1 + count, &ready);
        const uint32_t *places = (const uint32_t *)ready.bytes;
        for (size_t i = ready.length; i-- > 0;) { /* the last first, since ending moves the last */
            if (places[i] == 0) {
                take(listener);
            } else if (!serve(&connections[places[i] - 1])) {
                end(&connections[places[i] - 1]);
            }
        }
        scratch_used = 0;
    }
}
