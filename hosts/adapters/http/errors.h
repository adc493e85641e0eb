/* wasi:http/types: error-codes in memory. Of their details only the text of an internal error is
 * passed on; those that the adapter answers have none.
 */
#ifndef ERRORS_H
#define ERRORS_H

#include "../wasi/io.h"
#include "fields.h"

/* error-code */
typedef struct {
    uint8_t code;
    _Alignas(8) uint8_t payload[24];
} http_error_t;

/* option<error-code>; result<_, error-code> */
typedef struct {
    uint8_t is_there;
    http_error_t error;
} maybe_error_t;

/* result<own, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        handle_t handle;
        http_error_t error;
    } value;
} http_result_t;

/* option<result<result<own, error-code>>>; of trailers an option */
typedef struct {
    uint8_t is_some;
    _Alignas(8) uint8_t is_taken;
    _Alignas(8) uint8_t is_error;
    union {
        handle_t handle;
        struct {
            uint8_t is_some;
            handle_t handle;
        } trailers;
        http_error_t error;
    } value;
} later_t;

/* result<own> */
typedef struct {
    uint8_t is_error;
    handle_t handle;
} own_result_t;

_Static_assert(sizeof(http_error_t) == 32, "error-code");
_Static_assert(sizeof(maybe_error_t) == 40, "option<error-code>");
_Static_assert(sizeof(http_result_t) == 40, "result<own, error-code>");
_Static_assert(sizeof(later_t) == 56, "option<result<result<own, error-code>>>");
_Static_assert(__builtin_offsetof(later_t, value) == 24, "behind three cases");

static maybe_error_t *no_error(void) {
    static maybe_error_t result;
    result.is_there = 0;
    return &result;
}

static maybe_error_t *the_error(uint8_t code) {
    static maybe_error_t result;
    __builtin_memset(&result, 0, sizeof(result));
    result.is_there = 1;
    result.error.code = code;
    return &result;
}

EXPORT(TYPES "#http-error-code") maybe_error_t *http_error_code(const error_t *error) {
    return error->is_of_http ? the_error(error->code) : no_error();
}

static own_result_t *own_result(bool is_done, handle_t handle) {
    static own_result_t result;
    result = (own_result_t){!is_done, handle};
    return &result;
}

#endif
