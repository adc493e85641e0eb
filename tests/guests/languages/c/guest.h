/* The types and functions of ../guest.wit as they stand in memory (canonical ABI, wasm32). There is
 * no generator of bindings for C here, so they are written by hand. */
#ifndef GUEST_H
#define GUEST_H

#include <stddef.h>
#include <stdint.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

#define CATALOG "test:guest-language/catalog@0.1.0"
#define STOCK "test:guest-language/stock@0.1.0"

typedef struct {
    char *bytes; /* UTF-8, without an end mark */
    size_t length;
} text_t;

typedef struct {
    text_t *items;
    size_t count;
} texts_t;

typedef struct {
    text_t name;
    uint64_t count;
    texts_t tags;
    uint8_t has_note;
    text_t note;
} item_t;

typedef struct {
    enum : uint8_t { CLEAR, ADD, RENAME, TAG } kind;
    union {
        uint64_t add;
        text_t rename;
        texts_t tag;
    };
} change_t;

/* option<item> */
typedef struct {
    uint8_t is_some;
    item_t item;
} found_t;

/* result<item, string> */
typedef struct {
    uint8_t is_error;
    union {
        item_t item;
        text_t error;
    };
} applied_t;

_Static_assert(sizeof(item_t) == 40 && sizeof(change_t) == 16, "as the canonical ABI lays it out");
_Static_assert(sizeof(found_t) == 48 && sizeof(applied_t) == 48, "the same");

IMPORT(CATALOG, "find") void catalog_find(const char *name, size_t length, found_t *found);

#endif
