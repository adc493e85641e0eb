/* Tells the client that it was here, and has the next one answer; `/stop` it answers itself. */
#include "web.h"

IMPORT("wasi:http/incoming-handler@0.2.0", "handle") extern void next_handle(handle_t, handle_t);

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(handle_t request, handle_t out) {
    maybe_text_t target;
    result_t result;
    handle_t fields = new_fields();
    append_field(fields, TEXT("x-layer"), TEXT("here"), &result);
    inform(out, 103, fields, &result);
    request_path(request, &target);
    bool is_stop = target.text.length == 5 && target.text.bytes[1] == 's';
    memory_end();
    if (!is_stop) {
        next_handle(request, out);
        return;
    }
    drop_request(request);
    handle_t response = new_response(new_fields());
    set_status(response, 403);
    set_response(out, 0, response, 0, 0, 0, 0, 0, 0);
}
