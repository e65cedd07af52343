/* path.h: paths in a container's root, resolved by the kernel and used as fds.
 *
 * Every path that an image or a user names is hostile: a component may be a symlink to the host, and may be
 * swapped for one between a check and a use (CVE-2021-30465). So nothing here returns a path. Each
 * function resolves with openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS) from the root's fd and returns
 * an fd; creating goes one component at a time with mkdirat(2), which never follows a last symlink.
 *
 * All return -errno on failure. Leading slashes are optional. Read next: path.c. */
#ifndef MINIDOCK_PATH_H
#define MINIDOCK_PATH_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens `path` in root. `resolve` adds to RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS. O_CLOEXEC is implied. */
int path_open(int root, const char *path, int flags, uint64_t resolve);

/* The directory `path`, made with all missing parents (0755 root). O_PATH. *made tells whether the last one is new. */
int path_make_dirs(int root, const char *path, bool *made);

/* The directory that holds the last component of `path`, made if missing; the component goes to `base`.
 * O_PATH. -EINVAL for "/", "." and "..", which have no name in a parent. */
int path_parent(int root, const char *path, char base[NAME_MAX + 1]);

/* The place to mount on: `path`, made as a directory or an empty file if missing. O_PATH. */
int path_mount_point(int root, const char *path, bool directory);

/* A detached copy of the mount of `source`, a path of the host; with a `below` that is not "", of what that names in
 * it, resolved as if `source` were the root. `flags`: 0 or AT_RECURSIVE. An fd for move_mount(2). */
int path_clone(const char *source, const char *below, unsigned flags);

/* Is the fd on a file system of this magic (statfs(2))? */
bool on_filesystem(int fd, long magic);

/* Is it the character device major:minor? */
bool is_device(int fd, unsigned major, unsigned minor);

bool is_directory(int fd);

#endif
