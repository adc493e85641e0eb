/* Says hello, and nothing else: the least that a guest does for a request. */
#include "web.h"

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(handle_t request, handle_t out) {
    result_t result;
    maybe_text_t path;
    request_method(request, &result);
    request_path(request, &path);
    drop_request(request);
    handle_t fields = new_fields();
    append_field(fields, TEXT("content-type"), TEXT("text/plain"), &result);
    handle_t response = new_response(fields);
    response_body(response, &result);
    handle_t body = result.handle;
    set_response(out, 0, response, 0, 0, 0, 0, 0, 0);
    body_write(body, &result);
    handle_t stream = result.handle;
    write_and_flush(stream, TEXT("Hello, world!\n"), &result);
    drop_output(stream);
    finish_body(body, 0, 0, &result);
    memory_end();
}
