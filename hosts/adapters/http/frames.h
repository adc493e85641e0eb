/* Bulk frames: bytes as ASCII text, in the form of `hosts.engine.frames`. */
#ifndef FRAMES_H
#define FRAMES_H

#include "../wasi/host.h"

#define HEX_BYTES_MAX 2048u /* up to here two digits a byte, above it rows */
#define ROWS 7u
#define ROW_ALIGN 16u
#define FRAME_HEADER 16u
#define HIGH_BITS 0x8080808080808080u

static uint64_t word_at(const uint8_t *bytes) {
    uint64_t word;
    __builtin_memcpy(&word, bytes, sizeof(word));
    return word;
}

static void put_word(uint8_t *bytes, uint64_t word) {
    __builtin_memcpy(bytes, &word, sizeof(word));
}

static size_t row_width(size_t size) {
    return (size + ROWS * ROW_ALIGN - 1) / (ROWS * ROW_ALIGN) * ROW_ALIGN;
}

/* Return how long the longest frame of so many bytes is. */
static size_t bulk_length_max(size_t size) {
    size_t rows = FRAME_HEADER + 8 * row_width(size);
    return size <= HEX_BYTES_MAX ? 1 + 2 * size : rows;
}

static size_t bulk_write_hex(uint8_t *out, const uint8_t *bytes, size_t length) {
    static const char digits[] = "0123456789abcdef";
    out[0] = 'h';
    for (size_t i = 0; i < length; i++) {
        out[1 + 2 * i] = (uint8_t)digits[bytes[i] >> 4];
        out[2 + 2 * i] = (uint8_t)digits[bytes[i] & 15];
    }
    return 1 + 2 * length;
}

static size_t bulk_write_rows(uint8_t *out, const uint8_t *bytes, size_t length) {
    size_t width = row_width(length);
    uint8_t *rows = out + FRAME_HEADER + width;
    __builtin_memset(out, 0, FRAME_HEADER);
    out[0] = 'b';
    out[1] = (uint8_t)(ROWS * width - length);
    __builtin_memcpy(rows, bytes, length);
    __builtin_memset(rows + length, 0, ROWS * width - length);
    for (size_t at = 0; at < width; at += sizeof(uint64_t)) {
        uint64_t high = 0;
        for (size_t row = 0; row < ROWS; row++) {
            uint64_t word = word_at(rows + row * width + at);
            high = high >> 1 | (word & HIGH_BITS);
            put_word(rows + row * width + at, word & ~HIGH_BITS);
        }
        put_word(out + FRAME_HEADER + at, high >> 1);
    }
    return FRAME_HEADER + 8 * width;
}

/* Write the frame of some bytes to memory of `bulk_length_max`; return its length. */
static size_t bulk_write(uint8_t *out, const uint8_t *bytes, size_t length) {
    if (ascii_length(bytes, length) == length) {
        out[0] = 'a';
        __builtin_memcpy(out + 1, bytes, length);
        return 1 + length;
    }
    return length <= HEX_BYTES_MAX ? bulk_write_hex(out, bytes, length)
                                   : bulk_write_rows(out, bytes, length);
}

/* Return the frame of some bytes, in scratch. */
static text_t bulk_encode(const uint8_t *bytes, size_t length) {
    uint8_t *out = scratch(bulk_length_max(length), 8);
    return (text_t){out, bulk_write(out, bytes, length)};
}

static uint8_t hex_value(uint8_t digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit < 'a' || digit > 'f') {
        __builtin_trap();
    }
    return digit - 'a' + 10;
}

static text_t bulk_read_rows(text_t frame) {
    size_t width = frame.length < FRAME_HEADER ? 0 : (frame.length - FRAME_HEADER) / 8;
    uint8_t *high = frame.bytes + FRAME_HEADER, *rows = high + width;
    if (width < ROW_ALIGN || width % ROW_ALIGN || frame.length != FRAME_HEADER + 8 * width ||
        frame.bytes[1] >= ROWS * ROW_ALIGN) {
        __builtin_trap();
    }
    for (size_t at = 0; at < width; at += sizeof(uint64_t)) {
        uint64_t bits = word_at(high + at);
        for (size_t row = 0; row < ROWS; row++) {
            uint8_t *place = rows + row * width + at;
            put_word(place, word_at(place) | (bits << (ROWS - row) & HIGH_BITS));
        }
    }
    return (text_t){rows, ROWS * width - frame.bytes[1]};
}

/* Turn a frame into its bytes, in its place; trap when it is none. */
static text_t bulk_decode(text_t frame) {
    if (frame.length == 0) {
        __builtin_trap();
    }
    switch (frame.bytes[0]) {
    case 'a':
        return (text_t){frame.bytes + 1, frame.length - 1};
    case 'h': {
        size_t length = frame.length / 2;
        for (size_t i = 0; i < length; i++) {
            uint8_t high = hex_value(frame.bytes[1 + 2 * i]);
            frame.bytes[i] = (uint8_t)(high << 4 | hex_value(frame.bytes[2 + 2 * i]));
        }
        return (text_t){frame.bytes, length};
    }
    case 'b':
        return bulk_read_rows(frame);
    default:
        __builtin_trap();
    }
}

#endif
