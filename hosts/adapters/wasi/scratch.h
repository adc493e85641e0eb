/* Scratch memory: one block that only grows at its end.
 *
 * Arguments and results of one exported function live here. `scratch_end` says that the function
 * is over; the memory is taken again by the next allocation, and by then the caller has read the
 * results: it does so before anything else enters the module.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

#define PAGE_BYTES 65536u

/* Bytes of scratch that are there from the start: small calls need no more, and the memory of an
 * instance that is made for one of them stays small. */
#define SCRATCH_BYTES 8192u

static _Alignas(16) uint8_t scratch_first[SCRATCH_BYTES];
static uintptr_t scratch_from = (uintptr_t)scratch_first; /* where the next function begins */
static uintptr_t scratch_to = (uintptr_t)scratch_first + SCRATCH_BYTES;
static uintptr_t scratch_at;
static bool scratch_is_over = true;

/* Say that the exported function returns now. */
static inline void scratch_end(void) {
    scratch_is_over = true;
}

/* Return new memory behind all that there is, of at least `size` bytes; trap when there is none. */
static uintptr_t grow(uint64_t size) {
    uint64_t pages = (size + PAGE_BYTES - 1) / PAGE_BYTES;
    size_t before = pages > UINT16_MAX ? SIZE_MAX : __builtin_wasm_memory_grow(0, (size_t)pages);
    if (before == SIZE_MAX) {
        __builtin_trap();
    }
    return (uintptr_t)before * PAGE_BYTES;
}

/* Return memory of `size` bytes, aligned to `align`, a power of two; trap when there is none. */
static void *scratch(size_t size, size_t align) {
    if (scratch_is_over) {
        scratch_at = scratch_from;
        scratch_is_over = false;
    }
    /* 64 bits, so that a size near 2^32 is refused and does not wrap around. */
    uint64_t start = ((uint64_t)scratch_at + align - 1) & ~((uint64_t)align - 1);
    if (start + size > scratch_to) {
        bool is_last = scratch_to == (uint64_t)__builtin_wasm_memory_size(0) * PAGE_BYTES;
        uintptr_t more = grow(is_last ? start + size - scratch_to : (uint64_t)size);
        if (!is_last) { /* what was begun stays where it is, all else comes here from now on */
            scratch_from = more;
            start = more;
        }
        scratch_to = (uintptr_t)__builtin_wasm_memory_size(0) * PAGE_BYTES;
    }
    scratch_at = (uintptr_t)start + size;
    return (void *)(uintptr_t)start;
}

/* The canonical ABI takes memory here for arguments, and for the results of the host. */
EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    void *new = scratch(size, align);
    if (old_size > 0) {
        __builtin_memcpy(new, old, old_size < size ? old_size : size);
    }
    return new;
}

#endif
