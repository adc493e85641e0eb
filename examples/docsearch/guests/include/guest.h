/* What every guest in C needs: memory, texts, and the names of the component model's canonical
 * ABI (32-bit addresses, little-endian, structures laid out as C compilers do for wasm32).
 *
 * One translation unit makes one guest, so everything here is `static` but what the host looks up
 * by name. No libc: the compiler turns `__builtin_memcpy` and `__builtin_memset` into
 * instructions.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `EXPORT("docs:search/text@0.1.0#tokenize")` makes a function callable from outside. */
#define EXPORT(name) __attribute__((export_name(name)))

/* `IMPORT("docs:search/query@0.1.0", "search")` is a function that somebody else has. */
#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* A WIT `string` or `list<u8>`: valid UTF-8 when it is a string, never ended by a zero. */
typedef struct {
    const uint8_t *bytes;
    size_t length;
} text_t;

_Static_assert(sizeof(text_t) == 8, "a string is an address and a length of 32 bits each");

/* A string constant as a text. */
#define TEXT(literal) ((text_t){(const uint8_t *)(literal), sizeof(literal) - 1})

static inline bool text_equal(text_t a, text_t b) {
    if (a.length != b.length) {
        return false;
    }
    for (size_t i = 0; i < a.length; i++) {
        if (a.bytes[i] != b.bytes[i]) {
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------
 * Memory: one block that only grows at its end.
 *
 * What lives as long as the guest is allocated first. A call allocates behind it, and its
 * post-return function gives all of that back at once by `heap_release`.
 */

#define PAGE_BYTES 65536u

extern uint8_t __heap_base; /* the linker puts it behind static data and the stack */

static uintptr_t heap_at;   /* the next free byte; 0 before the first allocation */
static uintptr_t heap_kept; /* `heap_release` comes back to here */

/* Return memory of `size` bytes, aligned to `align`, a power of two; trap when there is none. */
static void *allocate(size_t size, size_t align) {
    if (heap_at == 0) {
        heap_at = heap_kept = (uintptr_t)&__heap_base;
    }
    /* 64 bits, so that a size near 2^32 is refused and does not wrap around. */
    uint64_t start = ((uint64_t)heap_at + align - 1) & ~((uint64_t)align - 1);
    uint64_t end = start + size;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * PAGE_BYTES;
    if (end > have) {
        uint64_t pages = (end - have + PAGE_BYTES - 1) / PAGE_BYTES;
        if (end > UINT32_MAX || __builtin_wasm_memory_grow(0, (size_t)pages) == SIZE_MAX) {
            __builtin_trap();
        }
    }
    heap_at = (uintptr_t)end;
    return (void *)(uintptr_t)start;
}

/* Return memory for `count` values of a type, not initialised. */
#define ALLOCATE(type, count) ((type *)allocate_array((count), sizeof(type), _Alignof(type)))

static void *allocate_array(size_t count, size_t size, size_t align) {
    if (count > SIZE_MAX / size) {
        __builtin_trap();
    }
    return allocate(count * size, align);
}

/* Keep what is allocated by now as long as the guest lives. */
static inline void heap_keep(void) {
    heap_kept = heap_at;
}

/* Give back what was allocated since the last `heap_keep`, or ever. */
static void heap_release(void) {
    heap_at = heap_kept;
}

/* The host takes memory for arguments and for the results of imports here, and enlarges it. */
EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    if (old_size > 0 && (uintptr_t)old + old_size == heap_at) {
        heap_at = (uintptr_t)old; /* the last block grows or shrinks in its place */
        return allocate(size, align);
    }
    void *new = allocate(size, align);
    if (old_size > 0) {
        __builtin_memcpy(new, old, old_size < size ? old_size : size);
    }
    return new;
}

#endif
