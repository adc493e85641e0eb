/* The service `index`: `docs:search/index`, a full-text index that lives in linear memory.
 *
 * `start` reads the corpus into one block, unescapes it in place and indexes it in two passes:
 * the first counts in how many documents each term occurs, the second fills one array of postings
 * in which those of a term lie together, by ascending document. After that nothing changes; a
 * call allocates its answer behind the index and gives it back.
 *
 * The corpus is UTF-8 text, a document a line, five fields between tabs:
 *     id  kind  module  title  text
 * with `\n`, `\t`, `\r` and `\\` for a line feed, a tab, a carriage return and a backslash. Ids are
 * decimal and ascend. A line that is anything else is left out and counted.
 */

#include "../include/line.h"
#include "../include/terms.h"
#include "corpus.h"
#include "wasi.h"

#define TITLE_WEIGHT 3u       /* a term of the title counts like so many in the text */
#define LOOKUP_TERMS_MAX 64u  /* terms of one lookup; what a person types has a few */
#define LOOKUP_HITS_MAX 1000u /* hits of one lookup, 16 bytes each */

/* BM25: how fast repetition stops to matter, and how much long documents are held back. */
#define BM25_K1 1.2
#define BM25_B 0.75

/* --- The index ------------------------------------------------------------------------------- */

typedef struct {
    text_t term; /* an entry without bytes is free */
    uint32_t hash;
    uint32_t documents; /* that have the term, each counted once */
    uint32_t first;     /* index of its first posting */
    uint32_t filled;    /* pass 1: the last document seen, plus 1; pass 2: postings written */
} entry_t;

typedef struct {
    uint32_t document; /* its place in `documents` */
    uint32_t count;    /* of the term in it, weighted */
} posting_t;

static document_t *documents; /* by ascending id */
static uint32_t document_count;
static uint32_t skipped_count;
static entry_t *entries; /* a hash table with linear probing, at most half full */
static uint32_t entry_capacity; /* a power of two, or 0 before `start` */
static uint32_t term_count;
static posting_t *postings;
static uint32_t posting_count;
static uint64_t token_count;
static double *scores;     /* by document, all 0 between lookups */
static uint32_t *touched;  /* the documents whose score is not 0, during a lookup */

/* FNV-1a, 32 bits: short, and good enough for words. */
static uint32_t hash_of(text_t term) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < term.length; i++) {
        hash = (hash ^ term.bytes[i]) * 16777619u;
    }
    return hash;
}

/* Return the entry of a term, or the free one where it belongs. */
static entry_t *entry_of(text_t term, uint32_t hash) {
    uint32_t mask = entry_capacity - 1;
    uint32_t slot = hash & mask;
    while (entries[slot].term.bytes != NULL &&
           !(entries[slot].hash == hash && text_equal(entries[slot].term, term))) {
        slot = (slot + 1) & mask;
    }
    return &entries[slot];
}

/* Make the table twice as large. The old one stays behind: all of them together take as much
 * memory as the last one, and nothing else of the index ever moves. */
static void grow_table(void) {
    entry_t *old = entries;
    uint32_t old_capacity = entry_capacity;
    entry_capacity = old_capacity == 0 ? 4096 : old_capacity * 2;
    entries = ALLOCATE(entry_t, entry_capacity);
    __builtin_memset(entries, 0, entry_capacity * sizeof(entry_t));
    for (uint32_t slot = 0; slot < old_capacity; slot++) {
        if (old[slot].term.bytes != NULL) {
            *entry_of(old[slot].term, old[slot].hash) = old[slot];
        }
    }
}

/* Pass 1: note that a document has a term `weight` times. */
static void count_term(uint32_t document, text_t term, uint32_t weight) {
    uint32_t hash = hash_of(term);
    entry_t *entry = entry_of(term, hash);
    if (entry->term.bytes == NULL) {
        if (2 * (term_count + 1) > entry_capacity) {
            grow_table();
            entry = entry_of(term, hash);
        }
        uint8_t *bytes = allocate(term.length, 1);
        __builtin_memcpy(bytes, term.bytes, term.length);
        *entry = (entry_t){.term = {bytes, term.length}, .hash = hash};
        term_count++;
    }
    if (entry->filled != document + 1) {
        entry->filled = document + 1;
        entry->documents++;
        posting_count++;
    }
    documents[document].tokens += weight;
    token_count += weight;
}

/* Pass 2: write or add to the posting of a term in a document. */
static void write_posting(uint32_t document, text_t term, uint32_t weight) {
    entry_t *entry = entry_of(term, hash_of(term));
    posting_t *end = postings + entry->first + entry->filled;
    if (entry->filled > 0 && end[-1].document == document) {
        end[-1].count += weight;
    } else {
        *end = (posting_t){document, weight};
        entry->filled++;
    }
}

typedef void visit_t(uint32_t document, text_t term, uint32_t weight);

/* Call `visit` for every term of every document, in their order. */
static void for_each_term(visit_t *visit) {
    term_t term;
    for (uint32_t i = 0; i < document_count; i++) {
        for (scan_t scan = scan_text(documents[i].title); next_term(&scan, &term);) {
            visit(i, (text_t){term.bytes, term.length}, TITLE_WEIGHT);
        }
        for (scan_t scan = scan_text(documents[i].text); next_term(&scan, &term);) {
            visit(i, (text_t){term.bytes, term.length}, 1);
        }
    }
}

static void build_index(void) {
    grow_table();
    for_each_term(count_term);
    postings = ALLOCATE(posting_t, posting_count);
    uint32_t first = 0;
    for (uint32_t slot = 0; slot < entry_capacity; slot++) {
        entries[slot].first = first;
        entries[slot].filled = 0;
        first += entries[slot].documents;
    }
    for_each_term(write_posting);
    scores = ALLOCATE(double, document_count);
    __builtin_memset(scores, 0, document_count * sizeof(double));
    touched = ALLOCATE(uint32_t, document_count);
}

EXPORT("start")
void start(void) {
    if (entry_capacity > 0) {
        return; /* started before */
    }
    text_t corpus = read_file(TEXT("/files/corpus"));
    documents = ALLOCATE(document_t, count_lines(corpus));
    document_count = parse_corpus(corpus, documents, &skipped_count);
    build_index();
    heap_keep();
    line_t line = line_begin();
    line_add(&line, TEXT("index: "));
    line_add_number(&line, document_count);
    line_add(&line, TEXT(" documents, "));
    line_add_number(&line, term_count);
    line_add(&line, TEXT(" terms, "));
    line_add_number(&line, skipped_count);
    line_add(&line, TEXT(" lines skipped\n"));
    write_stderr(line_text(&line));
    heap_release();
}

/* --- Lookup ---------------------------------------------------------------------------------- */

typedef struct {
    uint32_t id;
    double score;
} hit_t;

typedef struct {
    hit_t *items;
    size_t length;
} hit_list_t;

_Static_assert(sizeof(hit_t) == 16 && offsetof(hit_t, score) == 8, "record hit");

/* Return the natural logarithm of a number of at least 1. */
static double logarithm(double number) {
    uint64_t bits;
    __builtin_memcpy(&bits, &number, sizeof bits);
    int32_t exponent = (int32_t)(bits >> 52) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFull) | 1023ull << 52;
    double mantissa; /* in [1, 2), and after the next lines within a factor sqrt(2) of 1 */
    __builtin_memcpy(&mantissa, &bits, sizeof mantissa);
    if (mantissa > 1.4142135623730951) {
        mantissa /= 2;
        exponent++;
    }
    /* ln m = 2 artanh((m - 1) / (m + 1)), whose series gains a digit and a half with each term. */
    double ratio = (mantissa - 1) / (mantissa + 1);
    double power = ratio;
    double sum = 0;
    for (int term = 1; term <= 23; term += 2) {
        sum += power / term;
        power *= ratio * ratio;
    }
    return exponent * 0.6931471805599453 + 2 * sum;
}

/* Add what a term contributes to the scores; return how many documents are touched now. */
static uint32_t score_term(text_t term, uint32_t touched_count) {
    const entry_t *entry = entry_of(term, hash_of(term));
    if (entry->term.bytes == NULL) {
        return touched_count;
    }
    double mean = (double)token_count / document_count;
    double rarity =
        logarithm(1 + (document_count - entry->documents + 0.5) / (entry->documents + 0.5));
    const posting_t *end = postings + entry->first + entry->documents;
    for (const posting_t *posting = end - entry->documents; posting < end; posting++) {
        uint32_t document = posting->document;
        double length = 1 - BM25_B + BM25_B * documents[document].tokens / mean;
        double count = posting->count;
        if (scores[document] == 0) {
            touched[touched_count++] = document;
        }
        scores[document] += rarity * count * (BM25_K1 + 1) / (count + BM25_K1 * length);
    }
    return touched_count;
}

/* Tell whether `a` comes after `b` in an answer. */
static bool is_worse(hit_t a, hit_t b) {
    return a.score < b.score || (a.score == b.score && a.id > b.id);
}

/* Let the hit at `place` sink until no child is worse: the worst hit of a heap is its first. */
static void sink(hit_t *heap, size_t length, size_t place) {
    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= length) {
            return;
        }
        if (child + 1 < length && is_worse(heap[child + 1], heap[child])) {
            child++;
        }
        if (!is_worse(heap[child], heap[place])) {
            return;
        }
        hit_t moved = heap[place];
        heap[place] = heap[child];
        heap[child] = moved;
        place = child;
    }
}

/* Clear the scores, and leave the best `limit` of the touched documents in `hits`, best first. */
static void select_hits(uint32_t touched_count, hit_t *hits, size_t limit) {
    for (uint32_t i = 0; i < touched_count; i++) {
        hit_t hit = {documents[touched[i]].id, scores[touched[i]]};
        scores[touched[i]] = 0;
        if (i < limit) {
            hits[i] = hit;
            if (i + 1 == limit) {
                for (size_t place = limit / 2; place-- > 0;) {
                    sink(hits, limit, place);
                }
            }
        } else if (limit > 0 && is_worse(hits[0], hit)) {
            hits[0] = hit;
            sink(hits, limit, 0);
        }
    }
    for (size_t length = limit; length > 1; length--) {
        hit_t worst = hits[0];
        hits[0] = hits[length - 1];
        hits[length - 1] = worst;
        sink(hits, length - 1, 0);
    }
}

static hit_list_t lookup_result; /* results are read by the host before the post-return */

EXPORT("docs:search/index@0.1.0#lookup")
hit_list_t *lookup(const text_t *terms, size_t term_total, uint32_t limit) {
    uint32_t touched_count = 0;
    for (size_t i = 0; i < term_total && i < LOOKUP_TERMS_MAX && document_count > 0; i++) {
        touched_count = score_term(terms[i], touched_count);
    }
    size_t length = limit < LOOKUP_HITS_MAX ? limit : LOOKUP_HITS_MAX;
    length = length < touched_count ? length : touched_count;
    hit_t *hits = ALLOCATE(hit_t, length);
    select_hits(touched_count, hits, length);
    lookup_result = (hit_list_t){hits, length};
    return &lookup_result;
}

EXPORT("cabi_post_docs:search/index@0.1.0#lookup")
void lookup_done(hit_list_t *unused) {
    (void)unused;
    heap_release();
}

/* --- Documents and statistics ---------------------------------------------------------------- */

typedef struct {
    uint8_t is_some;
    struct {
        uint32_t id;
        text_t title;
        text_t module;
        uint8_t kind;
        text_t text;
    } value;
} docstring_option_t;

_Static_assert(sizeof(docstring_option_t) == 36 && offsetof(docstring_option_t, value.text) == 28,
               "option<docstring>");

static docstring_option_t document_result;

EXPORT("docs:search/index@0.1.0#document")
docstring_option_t *document(uint32_t id) {
    uint32_t low = 0;
    uint32_t high = document_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (documents[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    document_result = (docstring_option_t){.is_some = 0};
    if (low < document_count && documents[low].id == id) {
        const document_t *found = &documents[low];
        /* The fields point into the corpus: nothing to give back. */
        document_result = (docstring_option_t){
            1, {found->id, found->title, found->module, found->kind, found->text}};
    }
    return &document_result;
}

typedef struct {
    uint32_t documents;
    uint32_t skipped_lines;
    uint32_t terms;
    uint32_t postings;
    uint64_t tokens;
    uint64_t memory_bytes;
} totals_t;

_Static_assert(sizeof(totals_t) == 32 && offsetof(totals_t, tokens) == 16, "record totals");

static totals_t totals_result;

EXPORT("docs:search/index@0.1.0#stats")
totals_t *stats(void) {
    totals_result = (totals_t){
        .documents = document_count,
        .skipped_lines = skipped_count,
        .terms = term_count,
        .postings = posting_count,
        .tokens = token_count,
        .memory_bytes = (uint64_t)__builtin_wasm_memory_size(0) * PAGE_BYTES,
    };
    return &totals_result;
}
