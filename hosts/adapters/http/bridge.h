/* The adapter's side of a request: from the host's text to resources, and back. */
#ifndef BRIDGE_H
#define BRIDGE_H

#include "responses.h"

#define BRIDGE "lattice:http-host/bridge@0.1.0"

typedef struct {
    handle_t request, outparam;
} handles_t;

static void take_inline_body(inbody_t *body, text_t frame) {
    body->is_inline = true;
    if (frame.length > 1) {
        body->rest = text_copy(bulk_decode(frame));
        body->block = body->rest.bytes;
    }
}

/* Forget the request: what the guest still holds of it is over. */
static void forget_request(void) {
    if (now.request_body != NULL) {
        now.request_body->is_over = true;
        inbody_leave(now.request_body);
    }
    if (now.response != NULL) {
        if (now.response->body != NULL) {
            now.response->body->is_over = true;
        }
        response_leave(now.response);
    }
    heap_give(now.error.text.bytes);
    __builtin_memset(&now, 0, sizeof(now));
}

EXPORT(BRIDGE "#begin") handles_t *bridge_begin(uint8_t *bytes, size_t length) {
    static handles_t result;
    static uint32_t requests;
    forget_request();
    text_t text = frame_decode((text_t){bytes, length});
    /* The body comes last, behind a NUL; it stays in scratch, the head does not. */
    size_t head_length = 0;
    while (head_length < text.length && text.bytes[head_length] != 0) {
        head_length++;
    }
    if (head_length + 1 >= text.length) {
        __builtin_trap();
    }
    text_t body = {text.bytes + head_length + 1, text.length - head_length - 1};
    text_t head = text_copy((text_t){text.bytes, head_length});
    uint8_t *block = head.bytes;
    incoming_t *request = heap_zeroed(sizeof(incoming_t));
    request->method = word_of(take_line(&head), method_names, METHOD_OTHER);
    request->scheme = word_of(take_line(&head), scheme_names, SCHEME_OTHER);
    request->authority = take_line(&head);
    request->target = take_line(&head);
    request->fields = fields_from_lines(&head, block);
    request->body = make_inbody(0, NULL);
    now.request_body = inbody_share(request->body);
    if (body.bytes[0] != 's') {
        take_inline_body(request->body, body);
    }
    now.number = ++requests;
    now.is_head = request->method.kind == METHOD_HEAD;
    result.request = incoming_request_new(request);
    result.outparam = outparam_new(now.number);
    scratch_end();
    return &result;
}

/* Return the whole answer, or nothing when it has trailers, which go by the host's functions. */
static text_t whole_answer(const response_t *response) {
    static const text_t nothing = {(uint8_t *)1, 0};
    const outbody_t *body = response->body;
    if (body != NULL && body->trailers != NULL) {
        begin_answer();
        return nothing;
    }
    text_t head = head_text(response->status, response->fields);
    size_t length = body == NULL ? 0 : body->length;
    uint8_t *out = scratch(head.length + 1 + bulk_length_max(length), 1);
    uint8_t *end = put_bytes(out, head.bytes, head.length);
    *end++ = 0;
    end += bulk_write(end, length == 0 ? out : body->kept, length);
    return (text_t){out, (size_t)(end - out)};
}

static text_t error_answer(void) {
    uint8_t *out = scratch(failure_length_max(&now.error), 1);
    return (text_t){out, (size_t)(put_failure(out, &now.error) - out)};
}

EXPORT(BRIDGE "#finish") text_t *bridge_finish(void) {
    static text_t result;
    if (!now.is_set) {
        result = TEXT("?");
    } else if (now.response == NULL) {
        result = error_answer();
    } else {
        outbody_t *body = now.response->body;
        if (body != NULL && !body->is_finished) {
            if (now.is_begun && !body->is_over) {
                host_body_abort(0);
            }
            result = TEXT("-");
        } else if (now.is_begun) {
            result = (text_t){(uint8_t *)1, 0};
        } else {
            result = whole_answer(now.response);
        }
    }
    forget_request();
    scratch_end();
    return &result;
}

#endif
