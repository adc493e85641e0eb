/* Cuts text into terms, as `docs:search/text` promises. The component `tokenize` and the service
 * `index` both include it, so that a query and the index agree on what a term is.
 */
#ifndef TERMS_H
#define TERMS_H

#include "guest.h"

#define TERM_BYTES_MAX 40u /* of UTF-8; longer runs are data or tables rather than words */

typedef struct {
    uint8_t bytes[TERM_BYTES_MAX];
    size_t length;
} term_t;

/* A text, and how far it was read. */
typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} scan_t;

static scan_t scan_text(text_t text) {
    /* The address of an empty text may be nothing at all; then it must not be added to. */
    return (scan_t){text.bytes, text.length > 0 ? text.bytes + text.length : text.bytes};
}

/* One character: its code point and how many bytes it takes. */
typedef struct {
    uint32_t code;
    size_t length;
} char_t;

#define NOT_UTF8 UINT32_MAX

/* Return the character at `at`, before `end`; for a byte that begins none, NOT_UTF8 of length 1. */
static char_t char_at(const uint8_t *at, const uint8_t *end) {
    const char_t invalid = {NOT_UTF8, 1};
    uint8_t lead = at[0];
    if (lead < 0x80) {
        return (char_t){lead, 1};
    }
    size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || (size_t)(end - at) < length) {
        return invalid;
    }
    uint32_t code = lead & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80) {
            return invalid;
        }
        code = code << 6 | (at[i] & 0x3Fu);
    }
    bool is_overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (is_overlong || is_surrogate || code > 0x10FFFF) {
        return invalid;
    }
    return (char_t){code, length};
}

/* Tell whether a character is part of a term. Beyond ASCII only the blocks that hold nothing but
 * spaces, punctuation and symbols separate; a table of all categories would outweigh the rest. */
static bool is_term_char(uint32_t code) {
    if (code < 0x80) {
        return (code >= '0' && code <= '9') || (code >= 'a' && code <= 'z') ||
               (code >= 'A' && code <= 'Z');
    }
    if (code < 0xC0) {
        return code == 0xAA || code == 0xB5 || code == 0xBA; /* ordinal signs and micro */
    }
    return code != NOT_UTF8 && code != 0xD7 && code != 0xF7 && /* times and divided by */
           !(code >= 0x2000 && code <= 0x2BFF) && /* punctuation, arrows, mathematics, boxes */
           !(code >= 0x3000 && code <= 0x303F) && /* punctuation of East Asia */
           !(code >= 0xFE00 && code <= 0xFE6F) && /* variants and small forms */
           !(code >= 0xFF00 && code <= 0xFF0F) && /* wide punctuation */
           !(code >= 0x1F000 && code <= 0x1FAFF); /* pictures */
}

static bool is_stop_word(const term_t *term) {
    static const char words[][5] = {"a",  "an", "and", "are", "as", "at", "be",   "by",   "for",
                                    "in", "is", "it",  "of",  "on", "or", "that", "the",  "this",
                                    "to"};
    if (term->length > 4) {
        return false;
    }
    for (size_t word = 0; word < sizeof words / sizeof words[0]; word++) {
        size_t i = 0;
        while (i < term->length && (uint8_t)words[word][i] == term->bytes[i]) {
            i++;
        }
        if (i == term->length && words[word][i] == 0) {
            return true;
        }
    }
    return false;
}

/* Read the next term into `term`; false when the text has no more. */
static bool next_term(scan_t *scan, term_t *term) {
    while (scan->at < scan->end) {
        term->length = 0;
        bool is_full = false;
        while (scan->at < scan->end) {
            char_t character = char_at(scan->at, scan->end);
            if (!is_term_char(character.code)) {
                break;
            }
            is_full = is_full || term->length + character.length > TERM_BYTES_MAX;
            for (size_t i = 0; i < character.length && !is_full; i++) {
                uint8_t byte = scan->at[i];
                bool is_upper = byte >= 'A' && byte <= 'Z';
                term->bytes[term->length++] = is_upper ? (uint8_t)(byte | 0x20) : byte;
            }
            scan->at += character.length;
        }
        if (scan->at < scan->end) {
            scan->at += char_at(scan->at, scan->end).length; /* the separator */
        }
        /* One byte is one ASCII character: `x`, `2`. One letter of another script may be a word. */
        if (term->length > 1 && !is_stop_word(term)) {
            return true;
        }
    }
    return false;
}

#endif
