/* mountflags.c: see mountflags.h. A table, so that a word is added in one line.
 *
 * An unknown word is an error and never skipped: a flag that is meant to protect ("nosuid") and gets
 * lost by a typing error would be a hole that no test of the happy path shows.
 *
 * See: mount_setattr(2), mount(8). Read next: steps_mount.c. */
#include "mountflags.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sys.h"
#include "util.h"

/* What to set and what to clear. atime is a field of three bits with four values: to set one, all are cleared. */
static const struct flag_word {
    const char *word;
    uint64_t set, clear;
} words[] = {
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
};

/* Who sees later mounts: private nobody, slave takes the host's, shared goes both ways. The r forms include the
 * mounts below. See: mount_namespaces(7) "SHARED SUBTREES". */
static const struct propagation_word {
    const char *word;
    uint64_t propagation;
    bool recursive;
} propagations[] = {
    {"private", MS_PRIVATE, false}, {"slave", MS_SLAVE, false}, {"shared", MS_SHARED, false},
    {"rprivate", MS_PRIVATE, true}, {"rslave", MS_SLAVE, true}, {"rshared", MS_SHARED, true},
};

/* A later word wins over an earlier one ("ro,rw" is rw), as in mount(8). */
static bool add_word(const char *word, struct mount_flags *flags)
{
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        if (strcmp(words[i].word, word) == 0) {
            flags->set = (flags->set & ~words[i].clear) | words[i].set;
            flags->clear = (flags->clear & ~words[i].set) | words[i].clear;
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(propagations); i++) {
        if (strcmp(propagations[i].word, word) == 0) {
            flags->propagation = propagations[i].propagation;
            flags->propagation_recursive = propagations[i].recursive;
            return true;
        }
    }
    if (strcmp(word, "rec") != 0)
        return false;
    flags->recursive = true;
    return true;
}

int parse_mount_flags(const char *list, struct mount_flags *flags, char bad[32])
{
    char word[32];
    int r;
    *flags = (struct mount_flags){0};
    while ((r = next_item(&list, word, sizeof(word))) > 0) {
        if (!add_word(word, flags)) {
            snprintf(bad, 32, "%s", word);
            return -EINVAL;
        }
    }
    if (r < 0)
        snprintf(bad, 32, "%.31s", list);
    return r;
}
