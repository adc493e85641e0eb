/* Parses the corpus file of `index.c` in place. */
#ifndef CORPUS_H
#define CORPUS_H

#include "../include/terms.h"

enum { FIELD_ID, FIELD_KIND, FIELD_MODULE, FIELD_TITLE, FIELD_TEXT, FIELD_COUNT };

typedef struct {
    uint32_t id;
    uint8_t kind; /* module 0, class 1, function 2, as the WIT enum numbers them */
    text_t module;
    text_t title;
    text_t text;
    uint32_t tokens; /* the weighted terms of title and text */
} document_t;

/* Return how many lines a text has, the last one with or without its line feed. */
static size_t count_lines(text_t text) {
    size_t lines = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.bytes[i] == '\n' || i + 1 == text.length) {
            lines++;
        }
    }
    return lines;
}

/* Unescape a field where it lies; false when an escape is unknown or the bytes are not UTF-8. */
static bool unescape(uint8_t *start, uint8_t *end, text_t *field) {
    uint8_t *to = start;
    uint8_t *from = start;
    while (from < end) {
        char_t character = char_at(from, end);
        if (character.code == NOT_UTF8) {
            return false;
        }
        if (character.code == '\\') {
            if (end - from < 2) {
                return false;
            }
            switch (from[1]) {
            case 'n': *to = '\n'; break;
            case 't': *to = '\t'; break;
            case 'r': *to = '\r'; break;
            case '\\': *to = '\\'; break;
            default: return false;
            }
            to++;
            from += 2;
        } else {
            for (size_t i = 0; i < character.length; i++) {
                *to++ = *from++;
            }
        }
    }
    *field = (text_t){start, (size_t)(to - start)};
    return true;
}

/* Read a decimal number below 2^32 without sign or spaces. */
static bool parse_id(text_t digits, uint32_t *id) {
    uint64_t number = 0;
    for (size_t i = 0; i < digits.length; i++) {
        if (digits.bytes[i] < '0' || digits.bytes[i] > '9') {
            return false;
        }
        number = number * 10 + (uint64_t)(digits.bytes[i] - '0');
        if (number > UINT32_MAX) {
            return false;
        }
    }
    *id = (uint32_t)number;
    return digits.length > 0;
}

static bool parse_kind(text_t name, uint8_t *kind) {
    static const text_t names[] = {{(const uint8_t *)"module", 6},
                                   {(const uint8_t *)"class", 5},
                                   {(const uint8_t *)"function", 8}};
    for (uint8_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (text_equal(name, names[i])) {
            *kind = i;
            return true;
        }
    }
    return false;
}

/* Parse one line, its line feed left out; false when it is no document. */
static bool parse_line(uint8_t *start, uint8_t *end, document_t *document) {
    text_t fields[FIELD_COUNT];
    size_t count = 0;
    while (count < FIELD_COUNT) {
        uint8_t *stop = start;
        while (stop < end && *stop != '\t') {
            stop++;
        }
        if (!unescape(start, stop, &fields[count])) {
            return false;
        }
        count++;
        if (stop == end) {
            start = end;
            break;
        }
        start = stop + 1;
        if (count == FIELD_COUNT) {
            return false; /* a tab after the last field */
        }
    }
    *document = (document_t){.module = fields[FIELD_MODULE],
                             .title = fields[FIELD_TITLE],
                             .text = fields[FIELD_TEXT]};
    return count == FIELD_COUNT && parse_id(fields[FIELD_ID], &document->id) &&
           parse_kind(fields[FIELD_KIND], &document->kind);
}

/* Parse all lines; return how many documents there are, and in `skipped` how many other lines. */
static uint32_t parse_corpus(text_t corpus, document_t *documents, uint32_t *skipped) {
    uint8_t *at = (uint8_t *)(uintptr_t)corpus.bytes; /* our own memory, written in place */
    uint8_t *end = corpus.length > 0 ? at + corpus.length : at;
    uint32_t count = 0;
    *skipped = 0;
    while (at < end) {
        uint8_t *stop = at;
        while (stop < end && *stop != '\n') {
            stop++;
        }
        document_t document;
        bool is_document = parse_line(at, stop, &document);
        if (is_document && (count == 0 || document.id > documents[count - 1].id)) {
            documents[count++] = document;
        } else {
            (*skipped)++;
        }
        at = stop < end ? stop + 1 : end;
    }
    return count;
}

#endif
