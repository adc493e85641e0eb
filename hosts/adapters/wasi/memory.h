/* Memory of the adapter: cells for what lives between calls, scratch for what does not.
 *
 * No libc: the compiler turns `__builtin_memcpy` and `__builtin_memset` into instructions.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include "scratch.h"

/* ---------------------------------------------------------------------------------------------
 * Cells: one size for all resources, so that a freed one always fits the next.
 */

#define CELL_BYTES 24u
#define CELLS_MAX 16384u /* resources of one instance at a time; they take 384 KiB */

typedef union cell {
    union cell *next; /* while it is free */
    uint64_t align;
    uint8_t bytes[CELL_BYTES];
} cell_t;

_Static_assert(sizeof(cell_t) == CELL_BYTES, "a cell has no padding");

#define CELLS_FIRST 256u /* that are there from the start; the memory of a new instance is small */

static cell_t cells_first[CELLS_FIRST];
static cell_t *cells = cells_first; /* the next one that was never used, and how many follow */
static uint32_t cells_left = CELLS_FIRST;
static cell_t *cells_free;
static uint32_t cells_used;

/* Return zeroed memory of CELL_BYTES; trap when the guest holds too many resources. */
static void *cell_take(void) {
    cell_t *cell = cells_free;
    if (cell != NULL) {
        cells_free = cell->next;
    } else if (cells_used < CELLS_MAX) {
        if (cells_left == 0) {
            cells_left = CELLS_MAX - CELLS_FIRST;
            cells = (cell_t *)grow(cells_left * sizeof(cell_t));
        }
        cell = cells++;
        cells_left--;
        cells_used++;
    } else {
        __builtin_trap();
    }
    __builtin_memset(cell, 0, sizeof(*cell));
    return cell;
}

static void cell_give(void *memory) {
    cell_t *cell = memory;
    cell->next = cells_free;
    cells_free = cell;
}

#endif
