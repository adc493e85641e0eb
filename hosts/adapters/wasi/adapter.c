/* The standard interfaces of WASI 0.2 for guests, made inside wasm from the host's flat functions.
 *
 * The adapter is composed around a guest (`hosts.engine.wasi`). What takes time goes through
 * functions of the host that suspend the guest; nothing here waits in any other way.
 *
 * One translation unit makes the module, so everything is `static` but what is looked up by name.
 */
#include "cli.h"
#include "clocks.h"
#include "files.h"
#include "filetimes.h"
#include "io.h"
#include "output.h"
#include "sockets.h"
#include "streams.h"
#include "tcp.h"
#include "udp.h"
