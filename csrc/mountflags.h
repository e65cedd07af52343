/* mountflags.h: the words of a plan's FLAGS fields, as what mount_setattr(2) and fsmount(2) take.
 *
 * Serves `mount` and `bind` in steps_mount.c. Read next: mountflags.c. */
#ifndef MINIDOCK_MOUNTFLAGS_H
#define MINIDOCK_MOUNTFLAGS_H

#include <stdbool.h>
#include <stdint.h>

struct mount_flags {
    uint64_t set;         /* MOUNT_ATTR_* to set */
    uint64_t clear;       /* and to clear first, for the multi-bit atime field */
    bool recursive;       /* "rec": with the mounts below the source */
    uint64_t propagation; /* MS_PRIVATE, MS_SLAVE or MS_SHARED; 0: not named */
    bool propagation_recursive;
};

/* 0 or -EINVAL, with `bad` set to the word that is not known. */
int parse_mount_flags(const char *list, struct mount_flags *flags, char bad[32]);

#endif
