/* Memory for what has a size of its own and lives between calls: fields, heads and bodies.
 *
 * Blocks come in powers of two; a freed one serves the next of its size. All of it is bounded, and
 * a guest that holds more traps.
 */
#ifndef HEAP_H
#define HEAP_H

#include "../wasi/memory.h"

IMPORT("lattice:http-host/exchange@0.1.0", "trap")
extern void host_trap(uint32_t mistake);

/* Mistakes of guests that end their call; the host has words for them. */
enum { MEMORY_IS_FULL, FIELDS_ARE_TOO_MANY, HEADERS_ARE_HELD, STREAM_IS_HELD, REQUEST_IS_OVER };

_Noreturn static void give_up(uint32_t mistake) {
    host_trap(mistake);
    __builtin_trap(); /* the host does not come back */
}

#define HEAP_BYTES (4u * 1024 * 1024)
#define BLOCK_HEADER 8u
#define CLASSES 24u

typedef union block {
    union block *next; /* while it is free */
    struct {
        uint32_t of_class;
        uint32_t padding;
    } used;
} block_t;

_Static_assert(sizeof(block_t) == BLOCK_HEADER, "memory behind a header is aligned");

#define HEAP_FIRST 8192u /* bytes that are there from the start */

static _Alignas(8) uint8_t heap_first[HEAP_FIRST];
static uint8_t *heap = heap_first; /* what was never used, and how much of it there is */
static uint32_t heap_left = HEAP_FIRST;
static uint32_t heap_used;
static block_t *heap_free[CLASSES];

/* Return memory that holds anything. */
static void *heap_take(size_t size) {
    if (size > HEAP_BYTES / 2) {
        give_up(MEMORY_IS_FULL);
    }
    uint32_t whole = (uint32_t)size + BLOCK_HEADER;
    uint32_t of_class = whole <= 32 ? 5 : 32 - (uint32_t)__builtin_clz(whole - 1);
    block_t *block = heap_free[of_class];
    if (block != NULL) {
        heap_free[of_class] = block->next;
    } else {
        if ((1u << of_class) > HEAP_BYTES - heap_used) {
            give_up(MEMORY_IS_FULL);
        }
        uint32_t length = 1u << of_class;
        if (length > heap_left) { /* at least as much as all before, so that this is rare */
            heap_left = heap_used > length ? heap_used : length;
            heap_left = (heap_left + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
            heap = (uint8_t *)grow(heap_left);
        }
        block = (block_t *)heap;
        heap += length;
        heap_left -= length;
        heap_used += length;
    }
    block->used.of_class = of_class;
    return block + 1;
}

static void *heap_zeroed(size_t size) {
    void *memory = heap_take(size);
    __builtin_memset(memory, 0, size);
    return memory;
}

/* NULL is no memory, and may be given back. */
static void heap_give(void *memory) {
    if (memory != NULL) {
        block_t *block = (block_t *)memory - 1;
        uint32_t of_class = block->used.of_class;
        block->next = heap_free[of_class];
        heap_free[of_class] = block;
    }
}

#endif
