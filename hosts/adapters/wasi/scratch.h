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

extern uint8_t __heap_base; /* the linker puts it behind static data and the stack */

static uintptr_t scratch_at;
static bool scratch_is_over = true;

/* Say that the exported function returns now. */
static inline void scratch_end(void) {
    scratch_is_over = true;
}

/* Return memory of `size` bytes, aligned to `align`, a power of two; trap when there is none. */
static void *scratch(size_t size, size_t align) {
    if (scratch_is_over) {
        scratch_at = (uintptr_t)&__heap_base;
        scratch_is_over = false;
    }
    /* 64 bits, so that a size near 2^32 is refused and does not wrap around. */
    uint64_t start = ((uint64_t)scratch_at + align - 1) & ~((uint64_t)align - 1);
    uint64_t end = start + size;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * PAGE_BYTES;
    if (end > have) {
        uint64_t pages = (end - have + PAGE_BYTES - 1) / PAGE_BYTES;
        if (end > UINT32_MAX || __builtin_wasm_memory_grow(0, (size_t)pages) == SIZE_MAX) {
            __builtin_trap();
        }
    }
    scratch_at = (uintptr_t)end;
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
