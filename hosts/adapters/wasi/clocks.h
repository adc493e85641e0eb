/* wasi:clocks. Their resolution is what the host's loop can keep: a microsecond. */
#ifndef CLOCKS_H
#define CLOCKS_H

#include "io.h"

#define MONOTONIC "wasi:clocks/monotonic-clock@0.2.12"
#define WALL "wasi:clocks/wall-clock@0.2.12"

#define SECOND_NS 1000000000u
#define RESOLUTION_NS 1000u

typedef struct {
    uint64_t seconds;
    uint32_t nanoseconds;
} datetime_t;

_Static_assert(sizeof(datetime_t) == 16, "datetime");

static datetime_t datetime(uint64_t ns) {
    return (datetime_t){ns / SECOND_NS, (uint32_t)(ns % SECOND_NS)};
}

EXPORT(MONOTONIC "#now") uint64_t monotonic_now(void) {
    return host_monotonic_now();
}

EXPORT(MONOTONIC "#resolution") uint64_t monotonic_resolution(void) {
    return RESOLUTION_NS;
}

EXPORT(MONOTONIC "#subscribe-instant") handle_t subscribe_instant(uint64_t instant) {
    return make_pollable(instant);
}

EXPORT(MONOTONIC "#subscribe-duration") handle_t subscribe_duration(uint64_t duration) {
    if (duration == 0) {
        return make_pollable(0);
    }
    uint64_t now = host_monotonic_now();
    return make_pollable(duration < UINT64_MAX - now ? now + duration : UINT64_MAX);
}

static datetime_t *wall_result(uint64_t ns) {
    static datetime_t result;
    result = datetime(ns);
    return &result;
}

EXPORT(WALL "#now") datetime_t *wall_now(void) {
    return wall_result(host_wall_now());
}

EXPORT(WALL "#resolution") datetime_t *wall_resolution(void) {
    return wall_result(RESOLUTION_NS);
}

#endif
