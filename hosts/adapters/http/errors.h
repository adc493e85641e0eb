/* wasi:http/types: error-codes, as the host says them, as guests give them, and in memory. */
#ifndef ERRORS_H
#define ERRORS_H

#include "../wasi/io.h"
#include "fields.h"

/* error-code: the places of those that the adapter itself answers, and of those with details */
enum {
    DNS_ERROR = 1,
    TLS_ALERT_RECEIVED = 14,
    HTTP_REQUEST_BODY_SIZE = 17,
    HTTP_REQUEST_HEADER_SECTION_SIZE = 21,
    HTTP_REQUEST_HEADER_SIZE = 22,
    HTTP_REQUEST_TRAILER_SECTION_SIZE = 23,
    HTTP_REQUEST_TRAILER_SIZE = 24,
    HTTP_RESPONSE_HEADER_SECTION_SIZE = 26,
    HTTP_RESPONSE_HEADER_SIZE = 27,
    HTTP_RESPONSE_BODY_SIZE = 28,
    HTTP_RESPONSE_TRAILER_SECTION_SIZE = 29,
    HTTP_RESPONSE_TRAILER_SIZE = 30,
    HTTP_RESPONSE_TRANSFER_CODING = 31,
    HTTP_RESPONSE_CONTENT_CODING = 32,
    HTTP_PROTOCOL_ERROR = 35,
    HTTP_INTERNAL_ERROR = 38,
};

/* An error-code: none has more details than a number and a text. */
typedef struct {
    uint8_t code;
    bool has_number, has_text;
    uint64_t number;
    text_t text;
} failure_t;

/* option<string> */
typedef struct {
    uint8_t is_some;
    text_t text;
} maybe_text_t;

/* option<u32> */
typedef struct {
    uint8_t is_some;
    uint32_t number;
} maybe_number_t;

/* field-size-payload */
typedef struct {
    maybe_text_t name;
    maybe_number_t size;
} field_size_t;

/* error-code in memory */
typedef struct {
    uint8_t code;
    union {
        struct {
            maybe_text_t rcode;
            uint8_t has_info;
            uint16_t info;
        } dns;
        struct {
            uint8_t has_id, id;
            maybe_text_t message;
        } alert;
        struct {
            uint8_t is_some;
            uint64_t number;
        } size;
        maybe_number_t section;
        struct {
            uint8_t is_some;
            field_size_t field;
        } maybe_field;
        field_size_t field;
        maybe_text_t text;
    } details;
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
_Static_assert(__builtin_offsetof(http_error_t, details) == 8, "behind the case");
_Static_assert(sizeof(maybe_text_t) == 12, "option<string>");
_Static_assert(sizeof(field_size_t) == 20, "field-size-payload");
_Static_assert(sizeof(maybe_error_t) == 40, "option<error-code>");
_Static_assert(sizeof(http_result_t) == 40, "result<own, error-code>");
_Static_assert(sizeof(later_t) == 56, "option<result<result<own, error-code>>>");
_Static_assert(__builtin_offsetof(later_t, value) == 24, "behind three cases");

/* ---- failures ----------------------------------------------------------------------------- */

static failure_t failure(uint8_t code) {
    return (failure_t){.code = code};
}

static failure_t failure_with(uint8_t code, uint64_t number) {
    return (failure_t){.code = code, .has_number = true, .number = number};
}

/* Return what a line of the host says behind its `!`: the code, a number, and a text. */
static failure_t failure_in(text_t line) {
    failure_t result = failure((uint8_t)number_in(take_line(&line)));
    text_t number = take_line(&line);
    result.has_number = number.length > 0;
    result.number = number_in(number);
    result.has_text = line.length > 0;
    result.text = line;
    return result;
}

static failure_t failure_behind_mark(text_t line) {
    return failure_in((text_t){line.bytes + 1, line.length - 1});
}

/* Write a failure as the host reads it; there is room for `failure_length_max`. */
static uint8_t *put_failure(uint8_t *out, const failure_t *failure) {
    *out++ = '!';
    out = put_number(out, failure->code);
    *out++ = '\n';
    if (failure->has_number) {
        out = put_number(out, failure->number);
    }
    *out++ = '\n';
    return failure->has_text ? put_bytes(out, failure->text.bytes, failure->text.length) : out;
}

static size_t failure_length_max(const failure_t *failure) {
    return 2 * DIGITS_MAX + 3 + failure->text.length;
}

static maybe_text_t text_in(const failure_t *failure) {
    return (maybe_text_t){failure->has_text, failure->text};
}

static field_size_t field_size_in(const failure_t *failure) {
    return (field_size_t){text_in(failure), {failure->has_number, (uint32_t)failure->number}};
}

/* Return an error-code as it lies in memory. */
static http_error_t http_error(failure_t failure) {
    http_error_t error;
    __builtin_memset(&error, 0, sizeof(error));
    error.code = failure.code;
    switch (failure.code) {
    case DNS_ERROR:
        error.details.dns.rcode = text_in(&failure);
        error.details.dns.has_info = failure.has_number;
        error.details.dns.info = (uint16_t)failure.number;
        break;
    case TLS_ALERT_RECEIVED:
        error.details.alert.has_id = failure.has_number;
        error.details.alert.id = (uint8_t)failure.number;
        error.details.alert.message = text_in(&failure);
        break;
    case HTTP_REQUEST_BODY_SIZE:
    case HTTP_RESPONSE_BODY_SIZE:
        error.details.size.is_some = failure.has_number;
        error.details.size.number = failure.number;
        break;
    case HTTP_REQUEST_HEADER_SECTION_SIZE:
    case HTTP_REQUEST_TRAILER_SECTION_SIZE:
    case HTTP_RESPONSE_HEADER_SECTION_SIZE:
    case HTTP_RESPONSE_TRAILER_SECTION_SIZE:
        error.details.section = field_size_in(&failure).size;
        break;
    case HTTP_REQUEST_HEADER_SIZE:
        error.details.maybe_field.is_some = failure.has_number || failure.has_text;
        error.details.maybe_field.field = field_size_in(&failure);
        break;
    case HTTP_REQUEST_TRAILER_SIZE:
    case HTTP_RESPONSE_HEADER_SIZE:
    case HTTP_RESPONSE_TRAILER_SIZE:
        error.details.field = field_size_in(&failure);
        break;
    case HTTP_RESPONSE_TRANSFER_CODING:
    case HTTP_RESPONSE_CONTENT_CODING:
    case HTTP_INTERNAL_ERROR:
        error.details.text = text_in(&failure);
        break;
    default:
        break;
    }
    return error;
}

/* An error-code as the canonical ABI passes it in parameters. */
#define ERROR_PARAMETERS                                                                           \
    uint32_t code, uint32_t a, uint64_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t f
#define ERROR_ARGUMENTS code, a, b, c, d, e, f

static failure_t with_text(failure_t failure, uint32_t is_some, uint32_t at, size_t length) {
    failure.has_text = is_some;
    failure.text = is_some ? (text_t){(uint8_t *)(uintptr_t)at, length} : (text_t){0};
    return failure;
}

static failure_t with_number(failure_t failure, uint32_t is_some, uint64_t number) {
    failure.has_number = is_some;
    failure.number = is_some ? number : 0;
    return failure;
}

static failure_t failure_of(ERROR_PARAMETERS) {
    failure_t result = failure((uint8_t)code);
    switch (code) {
    case TLS_ALERT_RECEIVED:
        return with_text(with_number(result, a, b), c, d, e);
    case HTTP_REQUEST_BODY_SIZE:
    case HTTP_RESPONSE_BODY_SIZE:
    case HTTP_REQUEST_HEADER_SECTION_SIZE:
    case HTTP_REQUEST_TRAILER_SECTION_SIZE:
    case HTTP_RESPONSE_HEADER_SECTION_SIZE:
    case HTTP_RESPONSE_TRAILER_SECTION_SIZE:
        return with_number(result, a, b);
    case HTTP_REQUEST_HEADER_SIZE:
        return a ? with_number(with_text(result, (uint32_t)b, c, d), e, f) : result;
    case DNS_ERROR:
    case HTTP_REQUEST_TRAILER_SIZE:
    case HTTP_RESPONSE_HEADER_SIZE:
    case HTTP_RESPONSE_TRAILER_SIZE:
        return with_number(with_text(result, a, (uint32_t)b, c), d, e);
    case HTTP_RESPONSE_TRANSFER_CODING:
    case HTTP_RESPONSE_CONTENT_CODING:
    case HTTP_INTERNAL_ERROR:
        return with_text(result, a, (uint32_t)b, c);
    default:
        return result;
    }
}

/* ---- results ------------------------------------------------------------------------------ */

static maybe_error_t *no_error(void) {
    static maybe_error_t result;
    result.is_there = 0;
    return &result;
}

static maybe_error_t *the_error(failure_t failure) {
    static maybe_error_t result;
    result.is_there = 1;
    result.error = http_error(failure);
    return &result;
}

EXPORT(TYPES "#http-error-code") maybe_error_t *http_error_code(const error_t *error) {
    failure_t failure = {error->code, error->has_number, error->text.bytes != NULL, error->number,
                         error->text};
    return error->is_of_http ? the_error(failure) : no_error();
}

static own_result_t *own_result(bool is_done, handle_t handle) {
    static own_result_t result;
    result = (own_result_t){!is_done, handle};
    return &result;
}

#endif
