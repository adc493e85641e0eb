/* Answers with what it sees: which request this is, its variables, `greeting` of its configuration and its
   directories, one a line; and prints a line. */
#include "web.h"

IMPORT("wasi:cli/environment@0.2.0", "get-environment") extern void get_environment(text_t *);
IMPORT("wasi:cli/stdout@0.2.0", "get-stdout") extern handle_t get_stdout(void);
IMPORT("wasi:config/store@0.2.0-rc.1", "get") extern void get_config(const char *, size_t, uint8_t *);
IMPORT("wasi:filesystem/preopens@0.2.0", "get-directories") extern void get_directories(text_t *);

typedef struct {
    handle_t descriptor;
    text_t path;
} directory_t;

static uint32_t requests;
static handle_t stream;

static void say(const void *bytes, size_t length) {
    result_t result;
    write_and_flush(stream, bytes, length, &result);
}

static void say_line(const char *name, size_t name_length, text_t value) {
    say(name, name_length);
    say("=", 1);
    if (value.length > 0) {
        say(value.bytes, value.length);
    }
    say("\n", 1);
}

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(handle_t request, handle_t out) {
    result_t result;
    text_t found;
    /* result<option<string>, error>: is_error at 0, is_some at 4, the text at 8 */
    _Alignas(4) uint8_t config[16];
    drop_request(request);
    handle_t response = new_response(new_fields());
    response_body(response, &result);
    handle_t body = result.handle;
    set_response(out, 0, response, 0, 0, 0, 0, 0, 0);
    body_write(body, &result);
    stream = result.handle;
    uint8_t digit = (uint8_t)('0' + ++requests % 10);
    say_line(TEXT("request"), (text_t){&digit, 1});
    get_environment(&found);
    const text_t *pairs = (const text_t *)found.bytes;
    for (size_t i = 0; i < found.length; i++) {
        say_line((const char *)pairs[2 * i].bytes, pairs[2 * i].length, pairs[2 * i + 1]);
    }
    get_config(TEXT("greeting"), config);
    if (!config[0] && config[4]) {
        say_line(TEXT("greeting"), *(text_t *)(config + 8));
    }
    get_directories(&found);
    const directory_t *directories = (const directory_t *)found.bytes;
    for (size_t i = 0; i < found.length; i++) {
        say_line(TEXT("directory"), directories[i].path);
    }
    drop_output(stream);
    finish_body(body, 0, 0, &result);
    handle_t printed = get_stdout();
    write_and_flush(printed, TEXT("seen \033[31m\n"), &result);
    drop_output(printed);
    memory_end();
}
