/* Answers with what another component got from another server. */
#include "web.h"

IMPORT("test:web/asking@0.1.0", "ask")
extern void ask(const char *, size_t, const uint8_t *, size_t, text_t *);

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(handle_t request, handle_t out) {
    maybe_text_t target;
    result_t result;
    text_t got;
    request_path(request, &target);
    ask(TEXT("upstream.test"), target.text.bytes, target.text.length, &got);
    handle_t response = new_response(new_fields());
    response_body(response, &result);
    handle_t body = result.handle;
    set_response(out, 0, response, 0, 0, 0, 0, 0, 0);
    body_write(body, &result);
    handle_t stream = result.handle;
    write_and_flush(stream, got.bytes, got.length, &result);
    drop_output(stream);
    finish_body(body, 0, 0, &result);
    drop_request(request);
    memory_end();
}
