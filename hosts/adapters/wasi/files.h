/* wasi:filesystem, over the host's numbered files. What a path may reach is the host's to check. */
#ifndef FILES_H
#define FILES_H

#include "clocks.h"
#include "output.h"

#define FILES "wasi:filesystem/types@0.2.12"
#define DESCRIPTOR FILES "#[method]descriptor."

/* descriptor-flags */
enum { FLAG_READ = 1, FLAG_WRITE = 2, FLAG_MUTATE_DIRECTORY = 32 };

/* open-mode of the host: bits 0 and 1 as in descriptor-flags, then these */
enum { MODE_FOLLOW_BIT = 2, MODE_OPEN_FLAGS_BIT = 3 };

typedef struct {
    uint8_t is_some;
    datetime_t value;
} optional_datetime_t;

/* result<descriptor-stat, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        struct {
            uint8_t type;
            uint64_t links, size;
            optional_datetime_t accessed, modified, changed;
        } stat;
        uint8_t code;
    } value;
} stat_result_t;

/* result<tuple<list<u8>, bool>, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        struct {
            text_t bytes;
            uint8_t is_end;
        } chunk;
        uint8_t code;
    } value;
} chunk_result_t;

/* result<u64, error-code> and result<metadata-hash-value, error-code> */
typedef struct {
    uint8_t is_error;
    union {
        uint64_t numbers[2];
        uint8_t code;
    } value;
} numbers_result_t;

/* result<option<directory-entry>, error-code> */
typedef struct {
    uint8_t is_error;
    entry_t value;
} entry_result_t;

_Static_assert(sizeof(optional_datetime_t) == 24, "option<datetime>");
_Static_assert(sizeof(stat_result_t) == 104, "result<descriptor-stat, error-code>");
_Static_assert(sizeof(chunk_result_t) == 16, "result<tuple<list<u8>, bool>, error-code>");
_Static_assert(sizeof(numbers_result_t) == 24, "result<metadata-hash-value, error-code>");
_Static_assert(sizeof(entry_result_t) == 20, "result<option<directory-entry>, error-code>");

IMPORT("[export]" FILES, "[resource-new]descriptor") extern handle_t descriptor_new(file_t *rep);
IMPORT("[export]" FILES, "[resource-new]directory-entry-stream")
extern handle_t listing_new(file_t *rep);

/* ---- results ------------------------------------------------------------------------------ */

static done_t *done_result(done_t done) {
    static done_t result;
    result = done;
    scratch_end();
    return &result;
}

/* A handle, or the error that the host answered. */
static number_t *number_result(number_t number) {
    static number_t result;
    result = number;
    scratch_end();
    return &result;
}

static number_t handle_of(handle_t handle) {
    return (number_t){.is_error = 0, .value.number = handle};
}

static stat_result_t *stat_result(const status_result_t *status) {
    static stat_result_t result;
    __builtin_memset(&result, 0, sizeof(result));
    result.is_error = status->is_error;
    if (status->is_error) {
        result.value.code = status->value.code;
    } else {
        const status_t *found = &status->value.status;
        result.value.stat.type = found->type;
        result.value.stat.links = found->links;
        result.value.stat.size = found->size;
        result.value.stat.accessed = (optional_datetime_t){1, datetime(found->accessed)};
        result.value.stat.modified = (optional_datetime_t){1, datetime(found->modified)};
        result.value.stat.changed = (optional_datetime_t){1, datetime(found->changed)};
    }
    scratch_end();
    return &result;
}

/* A value that is equal when two descriptors are one object; it does not tell which. */
static numbers_result_t *hash_result(const status_result_t *status) {
    static numbers_result_t result;
    result.is_error = status->is_error;
    if (status->is_error) {
        result.value.code = status->value.code;
    } else {
        const status_t *found = &status->value.status;
        result.value.numbers[0] = found->inode * 0x9E3779B97F4A7C15u;
        result.value.numbers[1] = found->device * 0xC2B2AE3D27D4EB4Fu + found->inode;
    }
    scratch_end();
    return &result;
}

/* ---- open --------------------------------------------------------------------------------- */

static file_t *make_file(uint32_t number, uint8_t flags) {
    file_t *file = cell_take();
    file->number = number;
    file->flags = flags;
    return file_share(file);
}

static uint8_t directory_flag(uint32_t number) {
    return host_is_writable(number) ? FLAG_MUTATE_DIRECTORY : 0;
}

EXPORT("wasi:filesystem/preopens@0.2.12#get-directories") directories_t *get_directories(void) {
    static directories_t result;
    host_directories(&result);
    for (size_t i = 0; i < result.length; i++) {
        /* In its place: number and handle have the same size. */
        uint32_t *number = &result.items[i].number;
        *number = descriptor_new(make_file(*number, FLAG_READ | directory_flag(*number)));
    }
    scratch_end();
    return &result;
}

EXPORT(DESCRIPTOR "open-at")
number_t *open_at(const file_t *directory, uint32_t path_flags, const uint8_t *path,
                  size_t length, uint32_t open_flags, uint32_t flags) {
    uint32_t mode = (flags & (FLAG_READ | FLAG_WRITE)) | (path_flags & 1) << MODE_FOLLOW_BIT |
                    open_flags << MODE_OPEN_FLAGS_BIT;
    number_t opened;
    host_open_at(directory->number, path, length, mode, &opened);
    if (!opened.is_error) {
        uint32_t number = opened.value.number;
        uint8_t kept = (flags & (FLAG_READ | FLAG_WRITE)) | directory_flag(number);
        opened = handle_of(descriptor_new(make_file(number, kept)));
    }
    return number_result(opened);
}

EXPORT(FILES "#[dtor]descriptor") void descriptor_drop(file_t *file) {
    file_leave(file);
}

/* ---- contents ----------------------------------------------------------------------------- */

EXPORT(DESCRIPTOR "read-via-stream") number_t *read_via_stream(file_t *file, uint64_t offset) {
    return number_result(handle_of(make_input(file, offset)));
}

EXPORT(DESCRIPTOR "write-via-stream") number_t *write_via_stream(file_t *file, uint64_t offset) {
    return number_result(handle_of(make_output(TO_OFFSET, file, offset)));
}

EXPORT(DESCRIPTOR "append-via-stream") number_t *append_via_stream(file_t *file) {
    return number_result(handle_of(make_output(TO_END, file, 0)));
}

EXPORT(DESCRIPTOR "read")
chunk_result_t *descriptor_read(const file_t *file, uint64_t length, uint64_t offset) {
    static chunk_result_t result;
    frame_t frame;
    host_read(file->number, length < READ_BYTES_MAX ? (uint32_t)length : READ_BYTES_MAX, offset,
              &frame);
    result.is_error = frame.is_error;
    if (frame.is_error) {
        result.value.code = frame.value.code;
    } else {
        result.value.chunk.bytes = frame_decode(frame.value.text);
        result.value.chunk.is_end = result.value.chunk.bytes.length == 0 && length > 0;
    }
    scratch_end();
    return &result;
}

EXPORT(DESCRIPTOR "write")
numbers_result_t *descriptor_write(const file_t *file, const uint8_t *bytes, size_t length,
                                   uint64_t offset) {
    static numbers_result_t result;
    text_t frame = frame_encode(bytes, length);
    done_t done;
    host_write(file->number, frame.bytes, frame.length, true, offset, &done);
    result.is_error = done.is_error;
    if (done.is_error) {
        result.value.code = done.code;
    } else {
        result.value.numbers[0] = length;
    }
    scratch_end();
    return &result;
}

EXPORT(DESCRIPTOR "set-size") done_t *set_size(const file_t *file, uint64_t size) {
    done_t done;
    host_resize(file->number, size, &done);
    return done_result(done);
}

static done_t *sync_result(const file_t *file) {
    done_t done;
    host_sync(file->number, &done);
    return done_result(done);
}

EXPORT(DESCRIPTOR "sync") done_t *descriptor_sync(const file_t *file) {
    return sync_result(file);
}

EXPORT(DESCRIPTOR "sync-data") done_t *sync_data(const file_t *file) {
    return sync_result(file);
}

/* Advice may be ignored. */
EXPORT(DESCRIPTOR "advise")
done_t *advise(const file_t *file, uint64_t offset, uint64_t length, uint32_t advice) {
    (void)file, (void)offset, (void)length, (void)advice;
    return done_result((done_t){0});
}

/* ---- facts -------------------------------------------------------------------------------- */

EXPORT(DESCRIPTOR "get-flags") done_t *get_flags(const file_t *file) {
    /* result<descriptor-flags, error-code> has the layout of `done_t` */
    return done_result((done_t){0, file->flags});
}

EXPORT(DESCRIPTOR "get-type") done_t *get_type(const file_t *file) {
    status_result_t status;
    host_stat(file->number, &status);
    uint8_t value = status.is_error ? status.value.code : status.value.status.type;
    return done_result((done_t){status.is_error, value});
}

EXPORT(DESCRIPTOR "stat") stat_result_t *descriptor_stat(const file_t *file) {
    status_result_t status;
    host_stat(file->number, &status);
    return stat_result(&status);
}

EXPORT(DESCRIPTOR "stat-at")
stat_result_t *stat_at(const file_t *directory, uint32_t path_flags, const uint8_t *path,
                       size_t length) {
    status_result_t status;
    host_stat_at(directory->number, path, length, path_flags & 1, &status);
    return stat_result(&status);
}

EXPORT(DESCRIPTOR "metadata-hash") numbers_result_t *metadata_hash(const file_t *file) {
    status_result_t status;
    host_stat(file->number, &status);
    return hash_result(&status);
}

EXPORT(DESCRIPTOR "metadata-hash-at")
numbers_result_t *metadata_hash_at(const file_t *directory, uint32_t path_flags,
                                   const uint8_t *path, size_t length) {
    status_result_t status;
    host_stat_at(directory->number, path, length, path_flags & 1, &status);
    return hash_result(&status);
}

EXPORT(DESCRIPTOR "is-same-object")
uint32_t is_same_object(const file_t *file, const file_t *other) {
    status_result_t a, b;
    host_stat(file->number, &a);
    host_stat(other->number, &b);
    scratch_end();
    return !a.is_error && !b.is_error && a.value.status.inode == b.value.status.inode &&
           a.value.status.device == b.value.status.device;
}

EXPORT(FILES "#filesystem-error-code") done_t *filesystem_error_code(const error_t *error) {
    /* option<error-code> has the layout of `done_t` */
    return done_result((done_t){!error->is_of_socket, error->code});
}

/* ---- directories -------------------------------------------------------------------------- */

EXPORT(DESCRIPTOR "read-directory") number_t *read_directory(const file_t *directory) {
    number_t listing;
    host_list_directory(directory->number, &listing);
    if (!listing.is_error) {
        listing = handle_of(listing_new(make_file(listing.value.number, 0)));
    }
    return number_result(listing);
}

EXPORT(FILES "#[method]directory-entry-stream.read-directory-entry")
entry_result_t *read_directory_entry(const file_t *listing) {
    static entry_result_t result;
    result.is_error = 0;
    host_next_entry(listing->number, &result.value);
    scratch_end();
    return &result;
}

EXPORT(FILES "#[dtor]directory-entry-stream") void listing_drop(file_t *listing) {
    file_leave(listing);
}

EXPORT(DESCRIPTOR "create-directory-at")
done_t *create_directory_at(const file_t *directory, const uint8_t *path, size_t length) {
    done_t done;
    host_make_directory(directory->number, path, length, &done);
    return done_result(done);
}

EXPORT(DESCRIPTOR "remove-directory-at")
done_t *remove_directory_at(const file_t *directory, const uint8_t *path, size_t length) {
    done_t done;
    host_remove_directory(directory->number, path, length, &done);
    return done_result(done);
}

EXPORT(DESCRIPTOR "unlink-file-at")
done_t *unlink_file_at(const file_t *directory, const uint8_t *path, size_t length) {
    done_t done;
    host_unlink(directory->number, path, length, &done);
    return done_result(done);
}

EXPORT(DESCRIPTOR "rename-at")
done_t *rename_at(const file_t *directory, const uint8_t *path, size_t length,
                  const file_t *to_directory, const uint8_t *to_path, size_t to_length) {
    done_t done;
    host_rename(directory->number, path, length, to_directory->number, to_path, to_length, &done);
    return done_result(done);
}

EXPORT(DESCRIPTOR "readlink-at")
frame_t *readlink_at(const file_t *directory, const uint8_t *path, size_t length) {
    static frame_t result;
    host_read_link(directory->number, path, length, &result);
    scratch_end();
    return &result;
}

#endif
