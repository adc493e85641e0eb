/* Reads and writes the byte streams of its calls: see streams.wit. */
#include <stddef.h>
#include <stdint.h>

#define STREAM(name) __attribute__((import_module("lattice:streams/bytes@0.1.0"), import_name(name)))
#define WORK(name) __attribute__((export_name("test:streams/work@0.1.0#" name)))

typedef struct {
    uint8_t *bytes;
    size_t length;
} bytes_t;

STREAM("read") void stream_read(uint32_t at_most, bytes_t *read);
STREAM("write") void stream_write(const uint8_t *bytes, size_t length);

static uint8_t memory[1024 * 1024]; /* where the host puts what is read, each time anew */
static uint8_t piece[256 * 1024];

__attribute__((export_name("cabi_realloc")))
void *cabi_realloc(void *old, size_t was, size_t align, size_t size) {
    (void)old, (void)was, (void)align;
    if (size > sizeof memory) {
        __builtin_trap();
    }
    return memory;
}

WORK("upper") uint64_t upper(void) {
    uint64_t count = 0;
    bytes_t read;
    while (stream_read(sizeof piece, &read), read.length) {
        for (size_t i = 0; i < read.length; i++) {
            uint8_t byte = read.bytes[i];
            read.bytes[i] = byte >= 'a' && byte <= 'z' ? byte - 32 : byte;
        }
        stream_write(read.bytes, read.length);
        count += read.length;
    }
    return count;
}

WORK("total") uint64_t total(void) {
    uint64_t sum = 0;
    bytes_t read;
    while (stream_read(sizeof piece, &read), read.length) {
        for (size_t i = 0; i < read.length; i++) {
            sum += read.bytes[i];
        }
    }
    return sum;
}

WORK("produce") uint64_t produce(uint64_t count, uint32_t size) {
    uint64_t written = 0;
    while (written < count) {
        size_t length = size < sizeof piece ? size : sizeof piece;
        length = count - written < length ? (size_t)(count - written) : length;
        for (size_t i = 0; i < length; i++) {
            piece[i] = (uint8_t)((written + i) % 251);
        }
        stream_write(piece, length);
        written += length;
    }
    return written;
}

WORK("take") uint64_t take(uint64_t count) {
    uint64_t taken = 0;
    bytes_t read;
    while (taken < count) {
        uint64_t left = count - taken;
        stream_read(left < sizeof piece ? (uint32_t)left : sizeof piece, &read);
        if (!read.length) {
            break;
        }
        taken += read.length;
    }
    return taken;
}

WORK("next") uint64_t next(uint64_t number) {
    return number + 1;
}

WORK("fail") void fail(void) {
    stream_write((const uint8_t *)"hello", 5);
    __builtin_trap();
}

WORK("spin") void spin(void) {
    stream_write((const uint8_t *)"hello", 5);
    for (volatile uint32_t i = 0;; i++) {
    }
}
