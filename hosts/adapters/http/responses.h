/* wasi:http/types: the guest's answer, and bodies that go out. */
#ifndef RESPONSES_H
#define RESPONSES_H

#include "requests.h"

typedef struct {
    uint32_t users;
    uint32_t status;
    fields_t *fields;
    outbody_t *body; /* NULL: the guest did not ask for it, and it is empty */
} response_t;

/* What the guest has done about the request that it answers now. */
static struct {
    bool is_set;   /* it gave an answer, or an error */
    bool is_begun; /* the host has the head */
    bool is_head; /* the request was a HEAD: the answer may announce a body that it has not */
    uint32_t number; /* of the request among all of this instance; 0: there is none */
    response_t *response;
    failure_t error; /* valid when set without a response */
    inbody_t *request_body;
} now;

IMPORT("[export]" TYPES, "[resource-new]outgoing-response")
extern handle_t response_new(response_t *rep);
IMPORT("[export]" TYPES, "[resource-rep]outgoing-response")
extern response_t *response_rep(handle_t handle);
IMPORT("[export]" TYPES, "[resource-drop]outgoing-response")
extern void response_drop_handle(handle_t handle);
IMPORT("[export]" TYPES, "[resource-new]outgoing-body") extern handle_t outbody_new(outbody_t *rep);
IMPORT("[export]" TYPES, "[resource-rep]outgoing-body")
extern outbody_t *outbody_rep(handle_t handle);
IMPORT("[export]" TYPES, "[resource-drop]outgoing-body")
extern void outbody_drop_handle(handle_t handle);
IMPORT("[export]" TYPES, "[resource-new]response-outparam")
extern handle_t outparam_new(uint32_t request);
IMPORT("[export]" TYPES, "[resource-rep]response-outparam")
extern uint32_t outparam_rep(handle_t handle);
IMPORT("[export]" TYPES, "[resource-drop]response-outparam")
extern void outparam_drop_handle(handle_t handle);

#define STATUS_MIN 100u
#define STATUS_OK 200u
#define STATUS_MAX 999u
#define STATUS_DIGITS 4u /* with the end of the line */

static void response_leave(response_t *response) {
    if (response != NULL && --response->users == 0) {
        fields_leave(response->fields);
        outbody_leave(response->body);
        heap_give(response);
    }
}

/* Return a head as the host reads it: latin-1, in scratch. */
static text_t head_text(uint32_t status, const fields_t *fields) {
    uint8_t *head = scratch(STATUS_DIGITS + lines_length(fields) + 1, 1);
    uint8_t *end = put_number(head, status);
    *end++ = '\n';
    end = put_fields(end, fields);
    return frame_encode(head, (size_t)(end - head));
}

/* Tell the host that a body has ended. */
static void finish_body(uint32_t number, const fields_t *trailers) {
    text_t lines = {(uint8_t *)1, 0};
    if (trailers != NULL) {
        uint8_t *out = scratch(lines_length(trailers) + 1, 1);
        uint8_t *end = put_fields(out, trailers);
        lines = frame_encode(out, (size_t)(end - out));
    }
    host_body_finish(number, lines.bytes, lines.length);
}

static bool begin_answer(void) {
    response_t *response = now.response;
    if (response == NULL || now.is_begun) {
        return now.is_begun;
    }
    now.is_begun = true;
    text_t head = head_text(response->status, response->fields);
    host_begin(head.bytes, head.length);
    outbody_t *body = response->body;
    if (body != NULL) {
        begin_body(body, 0);
    }
    if (body == NULL || body->is_finished) {
        finish_body(0, body == NULL ? NULL : body->trailers);
    } else if (body->is_over) {
        host_body_abort(0); /* the guest gave it up */
    }
    return true;
}

static void before_waiting(void) {
    if (begin_answer() && now.response->body != NULL && !now.response->body->is_over) {
        send_kept(now.response->body);
    }
}

/* ---- outgoing-response -------------------------------------------------------------------- */

#define RESPONSE TYPES "#[method]outgoing-response."

EXPORT(TYPES "#[constructor]outgoing-response") handle_t response_constructor(handle_t headers) {
    response_t *response = heap_zeroed(sizeof(response_t));
    response->users = 1;
    response->status = STATUS_OK;
    response->fields = fields_take(headers);
    return response_new(response);
}

EXPORT(RESPONSE "status-code") uint32_t response_status(const response_t *response) {
    return response->status;
}

EXPORT(RESPONSE "set-status-code")
uint32_t response_set_status(response_t *response, uint32_t status) {
    if (status < STATUS_MIN || status > STATUS_MAX) {
        return 1;
    }
    response->status = status;
    return 0;
}

EXPORT(RESPONSE "headers") handle_t response_headers(const response_t *response) {
    return fields_new(fields_share(response->fields));
}

EXPORT(RESPONSE "body") own_result_t *response_body(response_t *response) {
    if (response->body != NULL) {
        return own_result(false, 0);
    }
    response->body = make_outbody(false, expected_length(response->fields));
    return own_result(true, outbody_new(outbody_share(response->body)));
}

EXPORT(TYPES "#[dtor]outgoing-response") void response_drop(response_t *response) {
    if (response->fields->users > 1) {
        give_up(HEADERS_ARE_HELD);
    }
    response_leave(response);
}

/* ---- outgoing-body ------------------------------------------------------------------------ */

/* Tell whether a body is shorter than was announced; answers to HEAD and 304 may have none. */
static bool is_short(const outbody_t *body) {
    const response_t *response = now.response;
    bool is_not_modified = response != NULL && response->body == body && response->status == 304;
    bool may_lack = !body->is_of_request && body->written == 0 && (now.is_head || is_not_modified);
    return body->expected != UNKNOWN_LENGTH && body->written != body->expected && !may_lack;
}

EXPORT(TYPES "#[method]outgoing-body.write") own_result_t *outbody_write(outbody_t *body) {
    if (body->has_stream || body->is_finished) {
        return own_result(false, 0);
    }
    body->has_stream = body->is_streaming = true;
    output_t *output = cell_take();
    output->to = TO_BODY;
    output->body = outbody_share(body);
    return own_result(true, output_new(output));
}

EXPORT(TYPES "#[static]outgoing-body.finish")
maybe_error_t *outbody_finish(handle_t handle, uint32_t has_trailers, handle_t trailers_handle) {
    outbody_t *body = outbody_share(outbody_rep(handle));
    fields_t *trailers = has_trailers ? fields_take(trailers_handle) : NULL;
    failure_t failure = size_failure(body, body->written);
    bool is_failed = is_short(body) || body->is_over;
    if (!is_failed) {
        body->is_finished = true;
        if (body->is_begun) {
            send_kept(body);
            finish_body(body->number, trailers);
        } else if (trailers != NULL) {
            body->trailers = fields_share(trailers);
        }
    }
    outbody_drop_handle(handle); /* which gives up what is not finished */
    outbody_leave(body);
    fields_leave(trailers);
    scratch_end();
    return is_failed ? the_error(failure) : no_error();
}

EXPORT(TYPES "#[dtor]outgoing-body") void outbody_drop(outbody_t *body) {
    if (body->is_streaming) {
        give_up(STREAM_IS_HELD);
    }
    if (!body->is_finished && !body->is_over) {
        body->is_over = true;
        if (body->is_begun) {
            host_body_abort(body->number);
        }
    }
    outbody_leave(body);
}

/* ---- response-outparam -------------------------------------------------------------------- */

EXPORT(TYPES "#[static]response-outparam.set")
void outparam_set(handle_t handle, uint32_t is_error, ERROR_PARAMETERS) {
    if (outparam_rep(handle) != now.number) {
        give_up(REQUEST_IS_OVER);
    }
    now.is_set = true;
    if (is_error) {
        now.error = failure_of(ERROR_ARGUMENTS);
        if (now.error.has_text) {
            now.error.text = text_copy(now.error.text);
        }
    } else {
        handle_t response = code; /* which the ABI passes in the same place */
        now.response = response_rep(response);
        now.response->users++;
        response_drop_handle(response);
    }
    outparam_drop_handle(handle);
    scratch_end();
}

EXPORT(TYPES "#[method]response-outparam.send-informational")
maybe_error_t *outparam_inform(uint32_t request, uint32_t status, handle_t headers) {
    fields_t *fields = fields_take(headers);
    bool is_fit = status >= STATUS_MIN && status < STATUS_OK && status != 101 &&
                  request == now.number;
    if (is_fit) {
        text_t head = head_text(status, fields);
        host_inform(head.bytes, head.length);
    }
    fields_leave(fields);
    scratch_end();
    return is_fit ? no_error() : the_error(failure(HTTP_PROTOCOL_ERROR));
}

EXPORT(TYPES "#[dtor]response-outparam") void outparam_drop(uint32_t request) {
    (void)request;
}

#endif
