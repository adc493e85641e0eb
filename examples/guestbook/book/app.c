/* The book: a service, so one instance with its own memory that answers one call at a time.
 *
 * Values stand in memory as the component model has them: a string is an address and a length, a
 * record is laid out as C does, a result begins with a byte that is 1 for an error.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOOK "example:book/book@0.1.0#"
#define EXPORT(name) __attribute__((export_name(name)))

#define ENTRIES_MAX 200
#define NAME_BYTES_MAX 80
#define MESSAGE_BYTES_MAX 500

typedef struct {
    const char *bytes;
    size_t length;
} text_t;

#define TEXT(literal) ((text_t){(literal), sizeof(literal) - 1})

typedef struct {
    text_t name, message;
    uint64_t signed_at;
} entry_t;

/* The pages of the book. Entry n is on page n % ENTRIES_MAX, so the newest replaces the oldest. */
static struct page {
    char name[NAME_BYTES_MAX], message[MESSAGE_BYTES_MAX];
    size_t name_length, message_length;
    uint64_t signed_at;
} pages[ENTRIES_MAX];
static uint32_t signed_ever;

static uint32_t count(void) {
    return signed_ever < ENTRIES_MAX ? signed_ever : ENTRIES_MAX;
}

/* Where the host puts the texts of a call; the next call begins anew. An argument that does not fit
 * is longer than any that is taken, and ends the call. */
static char arguments[64 * 1024];
static size_t arguments_used;

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t was, size_t align, size_t size) {
    (void)old, (void)was;
    arguments_used = (arguments_used + align - 1) & ~(align - 1);
    if (size > sizeof arguments - arguments_used) {
        __builtin_trap();
    }
    arguments_used += size;
    return arguments + arguments_used - size;
}

typedef struct {
    uint8_t is_error;
    union {
        uint32_t count;
        text_t problem;
    };
} signed_t;

static signed_t *refuse(text_t problem) {
    static signed_t result;
    result = (signed_t){.is_error = 1, .problem = problem};
    return &result;
}

EXPORT(BOOK "sign")
signed_t *sign(const char *name, size_t name_length, const char *message, size_t message_length,
               uint64_t signed_at) {
    static signed_t result;
    arguments_used = 0;
    if (name_length == 0 || message_length == 0) {
        return refuse(TEXT("A name and a message are needed."));
    }
    if (name_length > NAME_BYTES_MAX) {
        return refuse(TEXT("The name is too long: 80 bytes are the most."));
    }
    if (message_length > MESSAGE_BYTES_MAX) {
        return refuse(TEXT("The message is too long: 500 bytes are the most."));
    }
    struct page *page = &pages[signed_ever++ % ENTRIES_MAX];
    __builtin_memcpy(page->name, name, name_length);
    __builtin_memcpy(page->message, message, message_length);
    page->name_length = name_length;
    page->message_length = message_length;
    page->signed_at = signed_at;
    result = (signed_t){.is_error = 0, .count = count()};
    return &result;
}

typedef struct {
    const entry_t *entries;
    size_t length;
} list_t;

EXPORT(BOOK "entries") list_t *entries(uint32_t limit) {
    static entry_t found[ENTRIES_MAX];
    static list_t list;
    arguments_used = 0;
    list = (list_t){found, limit < count() ? limit : count()};
    for (uint32_t i = 0; i < list.length; i++) {
        const struct page *page = &pages[(signed_ever - 1 - i) % ENTRIES_MAX];
        found[i] = (entry_t){
            .name = {page->name, page->name_length},
            .message = {page->message, page->message_length},
            .signed_at = page->signed_at,
        };
    }
    return &list;
}
