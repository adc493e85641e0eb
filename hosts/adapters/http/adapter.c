/* wasi:http for guests, and all of WASI 0.2 that it stands on: one component, because all streams
 * and pollables of a guest must be of one kind.
 *
 * The sources of the WASI adapter are part of this one; `HAS_HTTP` lets their streams be bodies.
 */
#define HAS_HTTP 1

#include "../wasi/adapter.c"
#include "bridge.h"
#include "outgoing.h"
