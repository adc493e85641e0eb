/* Options of sockets, and the results that tell them. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "files.h"
#include "sockets.h"

/* result<bool, error-code> and result<u8, error-code> have the layout of `done_t` */
static done_t *small_option(const socket_t *socket, uint32_t name) {
    long_number_t found;
    host_get_option(socket->number, name, &found);
    uint8_t value = found.is_error ? found.value.code : (uint8_t)found.value.number;
    return done_result((done_t){found.is_error, value});
}

static number_t *option_of(const socket_t *socket, uint32_t name) {
    long_number_t found;
    host_get_option(socket->number, name, &found);
    if (found.is_error) {
        return number_result((number_t){.is_error = 1, .value.code = found.value.code});
    }
    return number_result(handle_of((uint32_t)found.value.number));
}

static long_number_t *long_option(const socket_t *socket, uint32_t name) {
    static long_number_t result;
    host_get_option(socket->number, name, &result);
    return &result;
}

static done_t *set_option(const socket_t *socket, uint32_t name, uint64_t value) {
    done_t done;
    host_set_option(socket->number, name, value, &done);
    return done_result(done);
}

#endif
