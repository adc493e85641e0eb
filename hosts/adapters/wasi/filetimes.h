/* wasi:filesystem: the times of files; and links, which the host does not offer. */
#ifndef FILETIMES_H
#define FILETIMES_H

#include "files.h"

/* ---- times -------------------------------------------------------------------------------- */

enum { TIME_KEPT, TIME_NOW, TIME_GIVEN }; /* new-timestamp */

/* Return the nanoseconds that a new-timestamp stands for; of no use when it is kept. */
static uint64_t time_of(uint32_t kind, uint64_t seconds, uint32_t nanoseconds) {
    if (kind == TIME_NOW) {
        return host_wall_now();
    }
    return seconds < UINT64_MAX / SECOND_NS ? seconds * SECOND_NS + nanoseconds : UINT64_MAX;
}

EXPORT(DESCRIPTOR "set-times")
done_t *set_times(const file_t *file, uint32_t accessed, uint64_t accessed_s, uint32_t accessed_ns,
                  uint32_t modified, uint64_t modified_s, uint32_t modified_ns) {
    done_t done;
    host_set_times(file->number, accessed != TIME_KEPT, time_of(accessed, accessed_s, accessed_ns),
                   modified != TIME_KEPT, time_of(modified, modified_s, modified_ns), &done);
    return done_result(done);
}

EXPORT(DESCRIPTOR "set-times-at")
done_t *set_times_at(const file_t *directory, uint32_t path_flags, const uint8_t *path,
                     size_t length, uint32_t accessed, uint64_t accessed_s,
                     uint32_t accessed_ns, uint32_t modified, uint64_t modified_s,
                     uint32_t modified_ns) {
    done_t done;
    host_set_times_at(directory->number, path, length, path_flags & 1, accessed != TIME_KEPT,
                      time_of(accessed, accessed_s, accessed_ns), modified != TIME_KEPT,
                      time_of(modified, modified_s, modified_ns), &done);
    return done_result(done);
}

/* ---- links -------------------------------------------------------------------------------- */

static done_t *unsupported(void) {
    return done_result((done_t){1, ERROR_UNSUPPORTED});
}

EXPORT(DESCRIPTOR "link-at")
done_t *link_at(const file_t *directory, uint32_t path_flags, const uint8_t *path, size_t length,
                const file_t *to_directory, const uint8_t *to_path, size_t to_length) {
    (void)directory, (void)path_flags, (void)path, (void)length;
    (void)to_directory, (void)to_path, (void)to_length;
    return unsupported();
}

EXPORT(DESCRIPTOR "symlink-at")
done_t *symlink_at(const file_t *directory, const uint8_t *old, size_t old_length,
                   const uint8_t *path, size_t length) {
    (void)directory, (void)old, (void)old_length, (void)path, (void)length;
    return unsupported();
}

#endif
