/* The guest of ../guest.wit in C, with its standard library. */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

/* All that belongs to one call: the arguments that the host put here, and the result. It is freed
 * when the host has taken the result. */
typedef struct block {
    struct block *next;
} block_t;

static block_t *blocks;

static void *take(size_t size) {
    block_t *block = malloc(sizeof *block + 8 + size);
    if (block == NULL) {
        abort();
    }
    block->next = blocks;
    blocks = block;
    return (char *)block + 8;
}

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t was, size_t align, size_t size) {
    (void)align; /* never above 8, and so are all blocks */
    void *taken = take(size);
    if (was) {
        memcpy(taken, old, was < size ? was : size);
    }
    return taken;
}

static void end_call(void) {
    while (blocks != NULL) {
        block_t *next = blocks->next;
        free(blocks);
        blocks = next;
    }
}

static text_t join(const char *before, text_t text, const char *after) {
    size_t first = strlen(before), last = strlen(after);
    text_t joined = {take(first + text.length + last), first + text.length + last};
    memcpy(joined.bytes, before, first);
    memcpy(joined.bytes + first, text.bytes, text.length);
    memcpy(joined.bytes + first + text.length, after, last);
    return joined;
}

static text_t text_of(const char *string) {
    return join(string, (text_t){NULL, 0}, "");
}

static texts_t both(texts_t first, texts_t second) {
    texts_t all = {take((first.count + second.count) * sizeof(text_t)), first.count + second.count};
    memcpy(all.items, first.items, first.count * sizeof(text_t));
    memcpy(all.items + first.count, second.items, second.count * sizeof(text_t));
    return all;
}

EXPORT(STOCK "#apply")
applied_t *apply(char *name, size_t length, const change_t *changes, size_t count) {
    static applied_t applied;
    found_t found;
    catalog_find(name, length, &found);
    if (!found.is_some) {
        applied = (applied_t){.is_error = 1, .error = join("no ", (text_t){name, length}, "")};
        return &applied;
    }
    item_t item = found.item;
    for (const change_t *change = changes; change < changes + count; change++) {
        switch (change->kind) {
        case CLEAR:
            item.has_note = 0;
            break;
        case ADD:
            if (change->add > UINT64_MAX - item.count) {
                applied = (applied_t){.is_error = 1, .error = join("too many ", item.name, "")};
                return &applied;
            }
            item.count += change->add;
            break;
        case RENAME:
            item.name = change->rename;
            break;
        case TAG:
            item.tags = both(item.tags, change->tag);
            break;
        }
    }
    applied = (applied_t){.item = item};
    return &applied;
}

EXPORT("cabi_post_" STOCK "#apply") void apply_end(applied_t *applied) {
    (void)applied;
    end_call();
}

EXPORT("handle") text_t *handle(char *text, size_t length) {
    static text_t answer;
    answer = join("Hello, ", (text_t){text, length}, "!");
    return &answer;
}

EXPORT("cabi_post_handle") void handle_end(text_t *answer) {
    (void)answer;
    end_call();
}

static text_t print(void) {
    puts("to out");
    fputs("to err\n", stderr);
    fflush(stdout);
    return text_of("printed");
}

static text_t environment(void) {
    const char *value = getenv("GUEST");
    return text_of(value ? value : "");
}

/* A component without `main` is not given its arguments: it asks for them. */
static text_t arguments(void) {
    size_t count, size;
    if (__wasi_args_sizes_get(&count, &size) || !count) {
        return text_of("");
    }
    uint8_t **words = take(count * sizeof *words);
    if (__wasi_args_get(words, take(size))) {
        return text_of("");
    }
    text_t joined = text_of((char *)words[0]);
    for (size_t i = 1; i < count; i++) {
        joined = join("", joined, " ");
        joined = join("", joined, (char *)words[i]);
    }
    return joined;
}

static text_t now(void) {
    struct timespec time;
    char digits[24];
    clock_gettime(CLOCK_REALTIME, &time);
    snprintf(digits, sizeof digits, "%lld", time.tv_sec * 1000LL + time.tv_nsec / 1000000);
    return text_of(digits);
}

static text_t chance(void) {
    uint64_t number;
    char digits[24];
    if (getentropy(&number, sizeof number)) {
        return text_of("none");
    }
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    return text_of(digits);
}

static text_t file(void) {
    char text[256];
    FILE *file = fopen("/files/greeting", "r");
    if (file == NULL) {
        return text_of("");
    }
    size_t length = fread(text, 1, sizeof text, file);
    fclose(file);
    return join("", (text_t){text, length}, "");
}

EXPORT("probe") text_t *probe(const char *what, size_t length) {
    static const struct {
        const char *name;
        text_t (*probe)(void);
    } probes[] = {{"print", print}, {"env", environment}, {"args", arguments},
                  {"clock", now},   {"random", chance},   {"file", file}};
    static text_t answer;
    answer = text_of("none");
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        if (strlen(probes[i].name) == length && !memcmp(probes[i].name, what, length)) {
            answer = probes[i].probe();
        }
    }
    return &answer;
}

EXPORT("cabi_post_probe") void probe_end(text_t *answer) {
    (void)answer;
    end_call();
}
