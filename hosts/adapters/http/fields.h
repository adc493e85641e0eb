/* wasi:http/types: fields, in the order in which they came, names in lower case. */
#ifndef FIELDS_H
#define FIELDS_H

#include "../wasi/io.h"
#include "exchange.h"

#define TYPES "wasi:http/types@0.2.12"

#define FIELDS_BYTES_MAX (128u * 1024) /* names and values of one `fields` */
#define FIELDS_MAX 4096u

/* A field whose name and value lie in one block of the heap, or in the block of all. */
typedef struct {
    text_t name, value;
} field_t;

typedef struct {
    uint32_t users;
    uint32_t count, capacity;
    uint32_t bytes;
    field_t *items;
    uint8_t *block; /* not NULL: has the names and values of all, which cannot be changed */
    bool is_immutable;
} fields_t;

/* header-error */
enum { HEADER_OK, HEADER_INVALID = 1, HEADER_FORBIDDEN, HEADER_IMMUTABLE };

/* result<fields, header-error> */
typedef struct {
    uint8_t is_error;
    union {
        handle_t fields;
        uint8_t code;
    } value;
} fields_result_t;

_Static_assert(sizeof(field_t) == 16, "tuple<field-name, field-value>");
_Static_assert(sizeof(fields_result_t) == 8, "result<fields, header-error>");

IMPORT("[export]" TYPES, "[resource-new]fields") extern handle_t fields_new(fields_t *rep);
IMPORT("[export]" TYPES, "[resource-rep]fields") extern fields_t *fields_rep(handle_t handle);
IMPORT("[export]" TYPES, "[resource-drop]fields") extern void fields_drop_handle(handle_t handle);

static fields_t *make_fields(void) {
    fields_t *fields = heap_zeroed(sizeof(fields_t));
    fields->users = 1;
    return fields;
}

static fields_t *fields_share(fields_t *fields) {
    fields->users++;
    return fields;
}

static void fields_clear(fields_t *fields) {
    for (size_t i = 0; fields->block == NULL && i < fields->count; i++) {
        heap_give(fields->items[i].name.bytes);
    }
    fields->count = fields->bytes = 0;
}

static void fields_leave(fields_t *fields) {
    if (fields != NULL && --fields->users == 0) {
        fields_clear(fields);
        heap_give(fields->items);
        heap_give(fields->block);
        heap_give(fields);
    }
}

/* Drop the fields of a request or response, whose handles its guest must have dropped. */
static void fields_end(fields_t *fields) {
    if (fields->users > 1) {
        give_up(HEADERS_ARE_HELD);
    }
    fields_leave(fields);
}

/* ---- names and values --------------------------------------------------------------------- */

static uint8_t lower(uint8_t byte) {
    return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
}

/* One bit for each byte that a name may have: ! # $ % & ' * + - . ^ _ ` | ~, digits, letters. */
static const uint32_t token_bytes[4] = {0, 0x03FF6CFAu, 0xC7FFFFFEu, 0x57FFFFFFu};

static bool is_token(text_t name) {
    for (size_t i = 0; i < name.length; i++) {
        uint8_t byte = name.bytes[i];
        if (byte >= 0x80 || !(token_bytes[byte / 32] >> (byte % 32) & 1)) {
            return false;
        }
    }
    return name.length > 0;
}

static bool is_value(text_t value) {
    for (size_t i = 0; i < value.length; i++) {
        uint8_t byte = value.bytes[i];
        if ((byte < ' ' && byte != '\t') || byte == 0x7F) {
            return false;
        }
    }
    return true;
}

/* Compare a name with one in lower case. */
static bool is_name(text_t name, text_t known) {
    if (name.length != known.length) {
        return false;
    }
    for (size_t i = 0; i < name.length; i++) {
        if (lower(name.bytes[i]) != known.bytes[i]) {
            return false;
        }
    }
    return true;
}

#define TEXT(literal) ((text_t){(uint8_t *)(literal), sizeof(literal) - 1})

/* Tell whether a field belongs to the connection, which is not the guest's. */
static bool is_forbidden(text_t name) {
    switch (name.length) {
    case 4:
        return is_name(name, TEXT("host"));
    case 7:
        return is_name(name, TEXT("upgrade"));
    case 10:
        return is_name(name, TEXT("connection")) || is_name(name, TEXT("keep-alive"));
    case 14:
        return is_name(name, TEXT("http2-settings"));
    case 16:
        return is_name(name, TEXT("proxy-connection"));
    case 17:
        return is_name(name, TEXT("transfer-encoding"));
    case 18:
        return is_name(name, TEXT("proxy-authenticate"));
    case 19:
        return is_name(name, TEXT("proxy-authorization"));
    default:
        return false;
    }
}

static uint8_t check_name(const fields_t *fields, text_t name) {
    if (!is_token(name)) {
        return HEADER_INVALID;
    }
    if (is_forbidden(name)) {
        return HEADER_FORBIDDEN;
    }
    return fields->is_immutable ? HEADER_IMMUTABLE : HEADER_OK;
}

/* ---- changing ----------------------------------------------------------------------------- */

static field_t *fields_room(fields_t *fields) {
    if (fields->count == fields->capacity) {
        uint32_t capacity = fields->capacity == 0 ? 7 : 2 * fields->capacity;
        field_t *items = heap_take(capacity * sizeof(field_t));
        __builtin_memcpy(items, fields->items, fields->count * sizeof(field_t));
        heap_give(fields->items);
        fields->items = items;
        fields->capacity = capacity;
    }
    return &fields->items[fields->count++];
}

/* Add a field, copied; false when there are too many. */
static bool fields_add(fields_t *fields, text_t name, text_t value) {
    size_t bytes = name.length + value.length;
    if (bytes > FIELDS_BYTES_MAX - fields->bytes || fields->count == FIELDS_MAX) {
        return false;
    }
    uint8_t *block = heap_take(bytes);
    for (size_t i = 0; i < name.length; i++) {
        block[i] = lower(name.bytes[i]);
    }
    __builtin_memcpy(block + name.length, value.bytes, value.length);
    field_t *field = fields_room(fields);
    field->name = (text_t){block, name.length};
    field->value = (text_t){block + name.length, value.length};
    fields->bytes += (uint32_t)bytes;
    return true;
}

static fields_t *fields_copy(const fields_t *fields) {
    fields_t *copy = make_fields();
    for (uint32_t i = 0; i < fields->count; i++) {
        if (!fields_add(copy, fields->items[i].name, fields->items[i].value)) {
            give_up(FIELDS_ARE_TOO_MANY);
        }
    }
    return copy;
}

/* Take over the fields of an owned handle; they are immutable from now on. Those of a request or
 * response stay with it, and are copied.
 */
static fields_t *fields_take(handle_t handle) {
    fields_t *fields = fields_share(fields_rep(handle));
    fields_drop_handle(handle);
    if (fields->users > 1) {
        fields_t *copy = fields_copy(fields);
        fields_leave(fields);
        fields = copy;
    }
    fields->is_immutable = true;
    return fields;
}

static void fields_remove(fields_t *fields, text_t name) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < fields->count; i++) {
        field_t *field = &fields->items[i];
        if (is_name(name, field->name)) {
            fields->bytes -= (uint32_t)(field->name.length + field->value.length);
            heap_give(field->name.bytes);
        } else {
            fields->items[kept++] = *field;
        }
    }
    fields->count = kept;
}

static field_t *fields_find(const fields_t *fields, text_t name) {
    for (uint32_t i = 0; i < fields->count; i++) {
        if (is_name(name, fields->items[i].name)) {
            return &fields->items[i];
        }
    }
    return NULL;
}

/* Return the fields that lines of names and values say. The text lies in `block`, which they take
 * over. What a guest may not see is left out.
 */
static fields_t *fields_from_lines(text_t *text, uint8_t *block) {
    fields_t *fields = make_fields();
    fields->block = block;
    fields->is_immutable = true;
    while (text->length > 0) {
        text_t name = take_line(text), value = take_line(text);
        if (is_token(name) && !is_forbidden(name)) {
            field_t *field = fields_room(fields);
            field->name = name;
            field->value = value;
            fields->bytes += (uint32_t)(name.length + value.length);
        }
    }
    return fields;
}

/* Return how long the lines of fields are. */
static size_t lines_length(const fields_t *fields) {
    return fields->bytes + 2 * fields->count;
}

static uint8_t *put_fields(uint8_t *out, const fields_t *fields) {
    for (uint32_t i = 0; i < fields->count; i++) {
        out = put_line(out, fields->items[i].name);
        out = put_line(out, fields->items[i].value);
    }
    return out;
}

static done_t *header_result(uint8_t code) {
    static done_t result;
    result = (done_t){code != HEADER_OK, code == HEADER_OK ? 0 : code - 1};
    scratch_end();
    return &result;
}

/* ---- exports ------------------------------------------------------------------------------ */

EXPORT(TYPES "#[constructor]fields") handle_t fields_constructor(void) {
    return fields_new(make_fields());
}

EXPORT(TYPES "#[static]fields.from-list")
fields_result_t *fields_from_list(const field_t *items, size_t count) {
    static fields_result_t result;
    fields_t *fields = make_fields();
    uint8_t code = HEADER_OK;
    for (size_t i = 0; i < count && code == HEADER_OK; i++) {
        code = check_name(fields, items[i].name);
        if (code == HEADER_OK &&
            (!is_value(items[i].value) || !fields_add(fields, items[i].name, items[i].value))) {
            code = HEADER_INVALID;
        }
    }
    result.is_error = code != HEADER_OK;
    if (result.is_error) {
        fields_leave(fields);
        result.value.code = code - 1;
    } else {
        result.value.fields = fields_new(fields);
    }
    scratch_end();
    return &result;
}

EXPORT(TYPES "#[method]fields.get")
text_t *fields_get(const fields_t *fields, uint8_t *bytes, size_t length) {
    static text_t result;
    text_t name = {bytes, length};
    text_t *values = scratch(fields->count * sizeof(text_t), sizeof(uint32_t));
    size_t count = 0;
    for (uint32_t i = 0; i < fields->count; i++) {
        if (is_name(name, fields->items[i].name)) {
            values[count++] = fields->items[i].value;
        }
    }
    result = (text_t){(uint8_t *)values, count};
    scratch_end();
    return &result;
}

EXPORT(TYPES "#[method]fields.has")
uint32_t fields_has(const fields_t *fields, uint8_t *bytes, size_t length) {
    scratch_end();
    return fields_find(fields, (text_t){bytes, length}) != NULL;
}

EXPORT(TYPES "#[method]fields.set")
done_t *fields_set(fields_t *fields, uint8_t *bytes, size_t length, const text_t *values,
                   size_t count) {
    text_t name = {bytes, length};
    uint8_t code = check_name(fields, name);
    for (size_t i = 0; i < count && code == HEADER_OK; i++) {
        code = is_value(values[i]) ? HEADER_OK : HEADER_INVALID;
    }
    if (code == HEADER_OK) {
        fields_remove(fields, name);
    }
    for (size_t i = 0; i < count && code == HEADER_OK; i++) {
        code = fields_add(fields, name, values[i]) ? HEADER_OK : HEADER_INVALID;
    }
    return header_result(code);
}

EXPORT(TYPES "#[method]fields.delete")
done_t *fields_delete(fields_t *fields, uint8_t *bytes, size_t length) {
    text_t name = {bytes, length};
    uint8_t code = check_name(fields, name);
    if (code == HEADER_OK) {
        fields_remove(fields, name);
    }
    return header_result(code);
}

EXPORT(TYPES "#[method]fields.append")
done_t *fields_append(fields_t *fields, uint8_t *bytes, size_t length, uint8_t *value,
                      size_t value_length) {
    text_t name = {bytes, length}, added = {value, value_length};
    uint8_t code = check_name(fields, name);
    if (code == HEADER_OK && (!is_value(added) || !fields_add(fields, name, added))) {
        code = HEADER_INVALID;
    }
    return header_result(code);
}

EXPORT(TYPES "#[method]fields.entries") text_t *fields_entries(const fields_t *fields) {
    static text_t result;
    result = (text_t){(uint8_t *)fields->items, fields->count};
    return &result;
}

EXPORT(TYPES "#[method]fields.clone") handle_t fields_clone(const fields_t *fields) {
    return fields_new(fields_copy(fields));
}

EXPORT(TYPES "#[dtor]fields") void fields_drop(fields_t *fields) {
    fields_leave(fields);
}

#endif
