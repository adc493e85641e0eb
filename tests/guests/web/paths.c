/* Answers by path: each is one thing that a guest may do with a request. */
#include "web.h"

static void require(bool is_so) {
    if (!is_so) {
        __builtin_trap();
    }
}

static const uint64_t MS = 1000000;
static uint8_t block[4096];

static bool is_path(text_t path, const char *name, size_t length) {
    if (path.length < length) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (path.bytes[i] != (uint8_t)name[i]) {
            return false;
        }
    }
    return path.length == length || path.bytes[length] == '?';
}

static uint64_t number_after(text_t path) {
    size_t i = 0;
    while (i < path.length && path.bytes[i] != '?') {
        i++;
    }
    uint64_t number = 0;
    for (i++; i < path.length; i++) {
        number = number * 10 + (uint64_t)(path.bytes[i] - '0');
    }
    return number;
}

/* Give an answer with these fields, and return its body. */
static handle_t answer_with(handle_t out, uint32_t status, handle_t fields) {
    result_t result;
    handle_t response = new_response(fields);
    set_status(response, status);
    response_body(response, &result);
    handle_t body = result.handle;
    set_response(out, 0, response, 0, 0, 0, 0, 0, 0);
    return body;
}

static handle_t answer(handle_t out, uint32_t status) {
    return answer_with(out, status, new_fields());
}

static handle_t stream_of(handle_t body) {
    result_t result;
    body_write(body, &result);
    return result.handle;
}

static bool say(handle_t stream, const void *bytes, size_t length) {
    for (const uint8_t *at = bytes; length > 0;) {
        result_t result;
        size_t part = length < sizeof(block) ? length : sizeof(block);
        write_and_flush(stream, at, part, &result);
        if (result.is_error) {
            return false;
        }
        at += part;
        length -= part;
    }
    return true;
}

static void end(handle_t body, handle_t stream) {
    result_t result;
    drop_output(stream);
    finish_body(body, 0, 0, &result);
}

static void say_number(handle_t stream, uint64_t number) {
    uint8_t digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    say(stream, digits + at, sizeof(digits) - at);
}

static void wait_ms(uint64_t ms) {
    handle_t pollable = subscribe_duration(ms * MS);
    block_on(pollable);
    drop_pollable(pollable);
}

/* Send the body back as it comes, and its trailers. */
static void echo(handle_t request, handle_t out) {
    result_t result;
    request_consume(request, &result);
    handle_t incoming = result.handle;
    body_stream(incoming, &result);
    handle_t input = result.handle;
    handle_t body = answer(out, 200), stream = stream_of(body);
    for (;;) {
        read_some(input, 65536, &result);
        if (result.is_error || !say(stream, result.bytes.bytes, result.bytes.length)) {
            break;
        }
        memory_end();
    }
    drop_input(input);
    drop_output(stream);
    handle_t future = finish_incoming(incoming);
    handle_t pollable = subscribe_trailers(future);
    block_on(pollable);
    drop_pollable(pollable);
    get_trailers(future, &result);
    /* some(ok(ok(some(fields)))): the option stands at 24, its handle at 28 */
    const uint8_t *at = (const uint8_t *)&result;
    bool has_trailers = at[0] == 1 && at[8] == 0 && at[16] == 0 && at[24] == 1;
    handle_t trailers = has_trailers ? *(const uint32_t *)(at + 28) : 0;
    drop_trailers(future);
    handle_t copy = 0;
    if (has_trailers) {
        copy = clone_fields(trailers);
        drop_fields(trailers);
    }
    finish_body(body, has_trailers, copy, &result);
}

/* Count the bytes of the body; the answer begins before any is read. */
static void count(handle_t request, handle_t out) {
    result_t result;
    uint64_t length = 0;
    request_consume(request, &result);
    handle_t incoming = result.handle;
    body_stream(incoming, &result);
    handle_t input = result.handle;
    handle_t body = answer(out, 200), stream = stream_of(body);
    for (;;) {
        read_some(input, 1 << 20, &result);
        if (result.is_error) {
            break;
        }
        length += result.bytes.length;
        memory_end();
    }
    drop_input(input);
    drop_incoming(incoming);
    say_number(stream, length);
    end(body, stream);
}

static void large(handle_t out, uint64_t length) {
    handle_t body = answer(out, 200), stream = stream_of(body);
    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] = (uint8_t)(i * 7);
    }
    while (length > 0 && say(stream, block, length < sizeof(block) ? length : sizeof(block))) {
        length -= length < sizeof(block) ? length : sizeof(block);
    }
    end(body, stream);
}

static void events(handle_t out) {
    result_t result;
    handle_t fields = new_fields();
    append_field(fields, TEXT("Content-Type"), TEXT("text/event-stream"), &result);
    handle_t body = answer_with(out, 200, fields), stream = stream_of(body);
    for (uint64_t i = 0; i < 3; i++) {
        say(stream, TEXT("data: "));
        say_number(stream, i);
        say(stream, TEXT("\n\n"));
        wait_ms(1);
    }
    end(body, stream);
}

/* Say the fields of the request, one a line. */
static void headers(handle_t request, handle_t out) {
    text_t entries;
    result_t result;
    handle_t fields = request_headers(request);
    field_entries(fields, &entries);
    append_field(fields, TEXT("x"), TEXT("y"), &result);
    handle_t body = answer(out, 200), stream = stream_of(body);
    say_number(stream, result.is_error ? 10 + ((const uint8_t *)&result)[1] : 0);
    say(stream, TEXT("\n"));
    const text_t *texts = (const text_t *)entries.bytes;
    for (size_t i = 0; i < 2 * entries.length; i++) {
        say(stream, texts[i].bytes, texts[i].length);
        say(stream, TEXT("\n"));
    }
    drop_fields(fields);
    end(body, stream);
}

/* Answer with the codes of fields that are refused, or 9 for those that are not. */
static void refused(handle_t out) {
    handle_t fields = new_fields();
    handle_t body = answer(out, 200), stream = stream_of(body);
    static const struct {
        const char *name;
        size_t name_length;
        const char *value;
        size_t value_length;
    } tried[] = {
        {TEXT("Transfer-Encoding"), TEXT("v")}, {TEXT("host"), TEXT("v")},
        {TEXT("in valid"), TEXT("v")},          {TEXT("fine"), TEXT("a\nb")},
        {TEXT(""), TEXT("v")},                  {TEXT("fine"), TEXT("v")},
    };
    for (size_t i = 0; i < sizeof(tried) / sizeof(*tried); i++) {
        result_t result;
        append_field(fields, tried[i].name, tried[i].name_length, tried[i].value,
                     tried[i].value_length, &result);
        say_number(stream, result.is_error ? ((const uint8_t *)&result)[1] : 9);
    }
    drop_fields(fields);
    end(body, stream);
}

static void trailers(handle_t out) {
    result_t result;
    handle_t body = answer(out, 200), stream = stream_of(body), fields = new_fields();
    append_field(fields, TEXT("x-sum"), TEXT("5"), &result);
    say(stream, TEXT("two"));
    drop_output(stream);
    finish_body(body, 1, fields, &result);
}

/* Promise ten bytes and write three. */
static void shorter(handle_t out) {
    result_t result;
    handle_t fields = new_fields();
    append_field(fields, TEXT("content-length"), TEXT("10"), &result);
    handle_t body = answer_with(out, 200, fields), stream = stream_of(body);
    say(stream, TEXT("two"));
    end(body, stream);
}

/* Give a future's response, or 0 and an error-code. Waits. */
static handle_t wait_for_answer(handle_t future, uint8_t *code) {
    result_t result;
    handle_t pollable = subscribe_future(future);
    block_on(pollable);
    drop_pollable(pollable);
    future_get(future, &result);
    /* some(ok(ok(response))): the discriminants stand at 0, 8 and 16, the rest at 24 */
    const uint8_t *at = (const uint8_t *)&result;
    require(at[0] == 1 && at[8] == 0);
    *code = at[24];
    return at[16] == 0 ? *(const handle_t *)(at + 24) : 0;
}

/* Make a request, and answer with the status or the error-code that it got. */
static void ask(handle_t out) {
    result_t result;
    uint8_t code;
    handle_t request = new_request(new_fields());
    set_authority(request, 1, TEXT("example.test"));
    send_request(request, 0, 0, &result);
    code = ((const uint8_t *)&result)[8];
    handle_t response = result.is_error ? 0 : wait_for_answer(((const handle_t *)&result)[2], &code);
    handle_t body = answer(out, 200), stream = stream_of(body);
    say_number(stream, response ? answer_status(response) : code);
    end(body, stream);
}

/* Pass bytes on until the end. */
static void copy(handle_t input, handle_t stream) {
    result_t result;
    for (;;) {
        read_some(input, 65536, &result);
        if (result.is_error || !say(stream, result.bytes.bytes, result.bytes.length)) {
            return;
        }
        memory_end();
    }
}

/* Send the body of the request to another server, and give back what that answers. */
static void relay(handle_t incoming_request, handle_t out) {
    result_t result;
    uint8_t code;
    handle_t fields = new_fields(), options = new_options();
    append_field(fields, TEXT("x-relayed"), TEXT("yes"), &result);
    handle_t request = new_request(fields);
    set_method(request, 2, 0, 0);
    set_scheme(request, 1, 0, 0, 0);
    set_authority(request, 1, TEXT("upstream.test:81"));
    set_path(request, 1, TEXT("/up?q"));
    set_connect_timeout(options, 1, 1500000000);
    request_body(request, &result);
    handle_t body = result.handle, stream = stream_of(body);
    send_request(request, 1, options, &result);
    require(!result.is_error);
    handle_t future = ((const handle_t *)&result)[2];
    request_consume(incoming_request, &result);
    handle_t incoming = result.handle;
    body_stream(incoming, &result);
    handle_t input = result.handle;
    copy(input, stream);
    drop_input(input);
    drop_incoming(incoming);
    end(body, stream);
    handle_t response = wait_for_answer(future, &code);
    drop_future(future);
    if (response == 0) {
        body = answer(out, 502);
        stream = stream_of(body);
        say_number(stream, code);
        end(body, stream);
        return;
    }
    handle_t given = answer_headers(response);
    body = answer_with(out, answer_status(response), clone_fields(given));
    drop_fields(given);
    answer_consume(response, &result);
    incoming = result.handle;
    body_stream(incoming, &result);
    input = result.handle;
    stream = stream_of(body);
    copy(input, stream);
    drop_input(input);
    drop_incoming(incoming);
    drop_answer(response);
    end(body, stream);
}

enum { MANY = 3 };

/* Make some requests at once, and say their status codes in the order in which they came. */
static void many(handle_t out) {
    result_t result;
    handle_t futures[MANY], pollables[MANY];
    static const char paths[MANY][2] = {{'/', 'a'}, {'/', 'b'}, {'/', 'c'}};
    for (size_t i = 0; i < MANY; i++) {
        handle_t request = new_request(new_fields());
        set_authority(request, 1, TEXT("upstream.test"));
        set_path(request, 1, paths[i], sizeof(paths[i]));
        send_request(request, 0, 0, &result);
        require(!result.is_error);
        futures[i] = ((const handle_t *)&result)[2];
        pollables[i] = subscribe_future(futures[i]);
    }
    handle_t body = answer(out, 200), stream = stream_of(body);
    for (size_t left = MANY; left > 0;) {
        text_t ready;
        uint8_t code;
        poll(pollables, left, &ready);
        size_t i = ((const uint32_t *)ready.bytes)[0];
        handle_t response = wait_for_answer(futures[i], &code);
        say_number(stream, response ? answer_status(response) : code);
        say(stream, TEXT(" "));
        drop_pollable(pollables[i]);
        drop_future(futures[i]);
        if (response) {
            drop_answer(response);
        }
        left--;
        pollables[i] = pollables[left];
        futures[i] = futures[left];
    }
    end(body, stream);
}

#ifndef STABLE
/* Send two heads before the answer, of which one may not be sent. */
static void hints(handle_t out) {
    result_t result;
    handle_t fields = new_fields();
    append_field(fields, TEXT("link"), TEXT("</style.css>"), &result);
    inform(out, 103, fields, &result);
    require(!result.is_error);
    inform(out, 200, new_fields(), &result);
    require(result.is_error);
    handle_t body = answer(out, 200), stream = stream_of(body);
    say(stream, TEXT("hinted"));
    end(body, stream);
}
#endif

/* Answer again with what the first answer has used up. */
static void twice(handle_t out) {
    handle_t body = answer(out, 200), stream = stream_of(body);
    say(stream, TEXT("once"));
    end(body, stream);
    answer(out, 201);
}

static void half(handle_t out, bool is_trapping) {
    handle_t body = answer(out, 200), stream = stream_of(body);
    say(stream, TEXT("half"));
    wait_ms(1);
    if (is_trapping) {
        __builtin_trap();
    }
    drop_output(stream);
    drop_outgoing(body);
}

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(handle_t request, handle_t out) {
    maybe_text_t target;
    request_path(request, &target);
    text_t path = target.text;
    if (is_path(path, TEXT("/echo"))) {
        echo(request, out);
    } else if (is_path(path, TEXT("/count"))) {
        count(request, out);
    } else if (is_path(path, TEXT("/large"))) {
        large(out, number_after(path));
    } else if (is_path(path, TEXT("/events"))) {
        events(out);
    } else if (is_path(path, TEXT("/headers"))) {
        headers(request, out);
    } else if (is_path(path, TEXT("/refused"))) {
        refused(out);
    } else if (is_path(path, TEXT("/trailers"))) {
        trailers(out);
    } else if (is_path(path, TEXT("/shorter"))) {
        shorter(out);
    } else if (is_path(path, TEXT("/ask"))) {
        ask(out);
#ifndef STABLE
    } else if (is_path(path, TEXT("/hints"))) {
        hints(out);
#endif
    } else if (is_path(path, TEXT("/relay"))) {
        relay(request, out);
    } else if (is_path(path, TEXT("/many"))) {
        many(out);
    } else if (is_path(path, TEXT("/twice"))) {
        twice(out);
    } else if (is_path(path, TEXT("/half"))) {
        half(out, false);
    } else if (is_path(path, TEXT("/half-trap"))) {
        half(out, true);
    } else if (is_path(path, TEXT("/trap"))) {
        __builtin_trap();
    } else if (is_path(path, TEXT("/error"))) {
        set_response(out, 1, 38, 1, (uintptr_t) "no luck", 7, 0, 0, 0);
    } else if (is_path(path, TEXT("/forever"))) {
        wait_ms(1000000);
    } else if (is_path(path, TEXT("/spin"))) {
        for (volatile uint32_t turns = 1; turns != 0; turns++) {
            turns |= 1;
        }
    } else if (is_path(path, TEXT("/nothing"))) {
        drop_outparam(out);
    } else {
        result_t result;
        handle_t body = answer(out, 204);
        finish_body(body, 0, 0, &result);
    }
    drop_request(request);
    memory_end();
}
