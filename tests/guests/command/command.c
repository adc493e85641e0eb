/* A command for tests, freestanding. The word after its name says what it does:
 *
 *   echo WORD...   the words, a space between two, and a line break
 *   env            a line NAME=VALUE for each variable
 *   config NAME    the value in wasi:config, `none` without one
 *   bytes          all bytes from 0 to 255 to the output, `complaint` to the error output
 *   cat            what comes from the standard input, until its end
 *   lines          `line` and a line break until somebody ends it
 *   wait           `waiting` and a line break, then nothing for an hour
 *   spin           `spinning` and a line break, then it computes for ever
 *   fail           nothing; its run returns an error
 *   exit           `leaving` and no line break, then it exits with an error
 *   trap           stops on an instruction that traps
 */
#include <stddef.h>
#include <stdint.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

typedef struct {
    const char *bytes;
    size_t length;
} text_t;

typedef struct {
    text_t *items;
    size_t count;
} texts_t;

/* Canonical forms of the results that do not fit a register. */
typedef struct {
    uint8_t is_error;
    uint32_t error[2];
} written_t;

typedef struct {
    uint8_t is_error;
    union {
        text_t bytes;
        uint32_t error[2];
    } value;
} read_t;

typedef struct {
    uint8_t is_error;
    uint8_t padding[3];
    uint8_t is_some;
    text_t value;
} found_t;

IMPORT("wasi:cli/environment@0.2.0", "get-environment") void get_environment(texts_t *out);
IMPORT("wasi:cli/environment@0.2.0", "get-arguments") void get_arguments(texts_t *out);
IMPORT("wasi:cli/exit@0.2.0", "exit") void cli_exit(uint32_t is_error);
IMPORT("wasi:cli/stdin@0.2.0", "get-stdin") uint32_t get_stdin(void);
IMPORT("wasi:cli/stdout@0.2.0", "get-stdout") uint32_t get_stdout(void);
IMPORT("wasi:cli/stderr@0.2.0", "get-stderr") uint32_t get_stderr(void);
IMPORT("wasi:config/store@0.2.0-rc.1", "get")
void config_get(const char *key, size_t length, found_t *out);
IMPORT("wasi:clocks/monotonic-clock@0.2.0", "subscribe-duration")
uint32_t subscribe_duration(uint64_t nanoseconds);
IMPORT("wasi:io/poll@0.2.0", "[method]pollable.block") void pollable_block(uint32_t pollable);
IMPORT("wasi:io/streams@0.2.0", "[method]output-stream.blocking-write-and-flush")
void stream_write(uint32_t stream, const char *bytes, size_t length, written_t *out);

IMPORT("wasi:io/streams@0.2.0", "[method]input-stream.blocking-read")
void stream_read(uint32_t stream, uint64_t length, read_t *out);

/* What the host passes in is never given back: a command lives for one run. */
static uint8_t heap[512 * 1024];
static size_t used;

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t was, size_t align, size_t size) {
    (void)old, (void)was;
    used = (used + align - 1) / align * align;
    if (size > sizeof heap - used) {
        __builtin_trap();
    }
    used += size;
    return heap + used - size;
}

static uint32_t output;

static void put(const char *bytes, size_t length) {
    written_t written;
    stream_write(output, bytes, length, &written);
}

static void say(const char *text) {
    size_t length = 0;
    while (text[length]) {
        length++;
    }
    put(text, length);
}

static int is(text_t text, const char *word) {
    size_t at = 0;
    while (at < text.length && word[at] && text.bytes[at] == word[at]) {
        at++;
    }
    return at == text.length && !word[at];
}

static void echo(texts_t words) {
    for (size_t i = 2; i < words.count; i++) {
        put(words.items[i].bytes, words.items[i].length);
        say(i + 1 < words.count ? " " : "");
    }
    say("\n");
}

static void environment(void) {
    texts_t pairs;
    get_environment(&pairs);
    for (size_t i = 0; i < 2 * pairs.count; i++) {
        put(pairs.items[i].bytes, pairs.items[i].length);
        say(i % 2 ? "\n" : "=");
    }
}

static void config(text_t name) {
    found_t found;
    config_get(name.bytes, name.length, &found);
    if (!found.is_error && found.is_some) {
        put(found.value.bytes, found.value.length);
    } else {
        say("none");
    }
    say("\n");
}

static void bytes(void) {
    char all[256];
    for (int i = 0; i < 256; i++) {
        all[i] = (char)i;
    }
    put(all, sizeof all);
    output = get_stderr();
    say("complaint");
}

static void cat(void) {
    uint32_t input = get_stdin();
    size_t before = used;
    for (;;) {
        read_t read;
        used = before;
        stream_read(input, 100000, &read);
        if (read.is_error) {
            return;
        }
        for (size_t at = 0; at < read.value.bytes.length; at += 4096) {
            size_t left = read.value.bytes.length - at;
            put(read.value.bytes.bytes + at, left < 4096 ? left : 4096);
        }
    }
}

EXPORT("wasi:cli/run@0.2.0#run") uint32_t run(void) {
    texts_t words;
    get_arguments(&words);
    output = get_stdout();
    text_t word = words.count > 1 ? words.items[1] : (text_t){"echo", 4};
    if (is(word, "echo")) {
        echo(words);
    } else if (is(word, "env")) {
        environment();
    } else if (is(word, "config") && words.count > 2) {
        config(words.items[2]);
    } else if (is(word, "bytes")) {
        bytes();
    } else if (is(word, "cat")) {
        cat();
    } else if (is(word, "lines")) {
        for (;;) {
            say("line\n");
        }
    } else if (is(word, "wait")) {
        say("waiting\n");
        pollable_block(subscribe_duration(3600000000000ull));
    } else if (is(word, "spin")) {
        say("spinning\n");
        for (volatile int i = 0;; i++) {
        }
    } else if (is(word, "exit")) {
        say("leaving");
        cli_exit(1);
    } else if (is(word, "trap")) {
        __builtin_trap();
    } else {
        return 1;
    }
    return 0;
}
