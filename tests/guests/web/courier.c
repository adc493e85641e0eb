/* Sends a request to the server that the environment names, and prints what came back. */
#include "asking.h"

IMPORT("wasi:cli/environment@0.2.0", "get-environment") extern void get_environment(text_t *);
IMPORT("wasi:cli/stdout@0.2.0", "get-stdout") extern handle_t get_stdout(void);

EXPORT("wasi:cli/run@0.2.0#run") uint32_t run(void) {
    text_t environment, authority = {0};
    result_t result;
    get_environment(&environment);
    const text_t *pairs = (const text_t *)environment.bytes;
    for (size_t i = 0; i < environment.length; i++) {
        if (pairs[2 * i].length == sizeof("AUTHORITY") - 1) {
            authority = pairs[2 * i + 1];
        }
    }
    text_t got = ask(authority, (text_t){(uint8_t *)"/courier", sizeof("/courier") - 1});
    handle_t stdout = get_stdout();
    write_and_flush(stdout, got.bytes, got.length, &result);
    write_and_flush(stdout, TEXT("\n"), &result);
    drop_output(stdout);
    return got.bytes[0] != '2'; /* fine is what begins with 2 */
}
