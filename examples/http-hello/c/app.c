/* Answers HTTP in C: a text, a name from the path, JSON sent back, and events one by one. */
#include "http.h"

#define BODY_BYTES_MAX (1 << 20)

static void hello(request_t *request, text_t name) {
    begin(request, 200, TEXT("text/plain; charset=utf-8"));
    say(request, TEXT("Hello, "));
    say(request, name);
    say(request, TEXT("! This is C.\n"));
}

/* Send the body back inside a JSON object. It is not parsed: the client has said that it is JSON. */
static void echo(request_t *request) {
    text_t body = body_of(request, BODY_BYTES_MAX);
    begin(request, 200, TEXT("application/json"));
    say(request, TEXT("{\"language\": \"c\", \"you_sent\": "));
    say(request, body.length > 0 ? body : TEXT("null"));
    say(request, TEXT("}\n"));
}

/* Server-sent events: five of them, one each fifth of a second. */
static void ticks(request_t *request) {
    begin(request, 200, TEXT("text/event-stream"));
    for (uint64_t tick = 1; tick <= 5; tick++) {
        text_t number = decimal(tick);
        if (!say(request, TEXT("data: tick ")) || !say(request, number) ||
            !say(request, TEXT("\n\n"))) {
            return; /* the client has left */
        }
        if (tick < 5) {
            pause_ms(200);
        }
    }
}

static void answer(request_t *request) {
    const text_t named = TEXT("/hello/");
    if (is_text(request->path, TEXT("/"))) {
        hello(request, TEXT("world"));
    } else if (starts_with(request->path, named)) {
        hello(request, after(request->path, named.length));
    } else if (is_text(request->path, TEXT("/echo")) && is_text(request->method, TEXT("POST"))) {
        echo(request);
    } else if (is_text(request->path, TEXT("/ticks"))) {
        ticks(request);
    } else {
        begin(request, 404, TEXT("text/plain; charset=utf-8"));
        say(request, TEXT("There is /, /hello/NAME, /ticks, and POST /echo.\n"));
    }
}
