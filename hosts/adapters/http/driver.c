/* Hands a request from the adapter to the guest: resources pass between those two only, so that
 * the host makes one call with text on both sides.
 */
#include "../wasi/scratch.h"

typedef struct {
    uint8_t *bytes;
    size_t length;
} text_t;

typedef struct {
    uint32_t request, outparam;
} handles_t;

IMPORT("lattice:http-host/bridge@0.1.0", "begin")
extern void bridge_begin(const uint8_t *bytes, size_t length, handles_t *result);
IMPORT("lattice:http-host/bridge@0.1.0", "finish") extern void bridge_finish(text_t *result);
IMPORT("wasi:http/incoming-handler@0.2.12", "handle")
extern void guest_handle(uint32_t request, uint32_t outparam);

EXPORT("lattice:http-host/server@0.1.0#handle")
text_t *handle(const uint8_t *bytes, size_t length) {
    static text_t result;
    handles_t handles;
    bridge_begin(bytes, length, &handles);
    scratch_end();
    guest_handle(handles.request, handles.outparam);
    bridge_finish(&result);
    scratch_end();
    return &result;
}
