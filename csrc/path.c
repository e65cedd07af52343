/* path.c: see path.h. In-root lookup, and mkdir -p that can't be led outside.
 *
 * The kernel does the resolving: RESOLVE_IN_ROOT treats the root fd as "/" for absolute symlinks and for
 * "..", as chroot(2) would, with no race to win. What openat2(2) can't do is to create missing parents. So
 * path_make_dirs() looks for the longest part that exists, makes the next component in that fd, and
 * looks again. A component that "exists" as a dangling symlink (/var/run -> /run in an image without
 * /run) is replaced in the text by its target and the whole path is looked up anew, still in-root.
 *
 * The attacks this answers: CVE-2021-30465, CVE-2024-45310, CVE-2023-28642 (security.md section 2, rows 4 and 5).
 * See: openat2(2).   Read next: steps_mount.c, steps_node.c. */
#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "sys.h"
#include "util.h"

#define MAX_LOOKUPS (PATH_MAX / 2) /* new components and dangling links of one path: so many components fit into one */

int path_open(int root, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint64_t)flags | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve,
    };
    /* EAGAIN: ".." met a rename somewhere on the system, and the kernel can't vouch for the result. */
    for (int tries = 0; tries < MAX_LOOKUPS; tries++) {
        int fd = sys_openat2(root, path, &how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            return fd >= 0 ? fd : -errno;
    }
    return -EAGAIN;
}

/* Opens the longest existing leading part of path; *rest is set to what follows it ("" if all exists). */
static int open_existing(int root, const char *path, const char **rest)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    for (;;) {
        memcpy(part, path, length);
        part[length] = '\0';
        int fd = path_open(root, length == 0 ? "/" : part, O_PATH | O_DIRECTORY, 0);
        if (fd != -ENOENT || length == 0) {
            *rest = path + length + strspn(path + length, "/");
            return fd;
        }
        while (length > 0 && path[length - 1] == '/')
            length--;
        while (length > 0 && path[length - 1] != '/')
            length--;
    }
}

/* `name` in parent exists but leads nowhere: a dangling symlink. Rewrites path with the link's text in its place. */
static int follow_dangling(int parent, const char *name, char path[PATH_MAX], size_t prefix, const char *rest)
{
    char link[PATH_MAX], rewritten[PATH_MAX];
    ssize_t n = readlinkat(parent, name, link, sizeof(link) - 1);
    if (n < 0)
        return errno == EINVAL ? -EEXIST : -errno; /* not a link: somebody made it meanwhile */
    link[n] = '\0';
    int keep = link[0] == '/' ? 0 : (int)prefix;
    int size = snprintf(rewritten, sizeof(rewritten), "%.*s/%s%s", keep, path, link, rest);
    if (size < 0 || (size_t)size >= sizeof(rewritten))
        return -ENAMETOOLONG;
    memcpy(path, rewritten, (size_t)size + 1);
    return 0;
}

/* Makes the first component of `rest` in parent. 0, or -errno; a dangling link rewrites the path instead. */
static int make_next(int parent, char path[PATH_MAX], const char *rest, bool *made)
{
    char name[NAME_MAX + 1];
    size_t length = strcspn(rest, "/");
    if (length > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(name, rest, length);
    name[length] = '\0';
    *made = mkdirat(parent, name, 0755) == 0;
    if (*made)
        return 0;
    if (errno != EEXIST)
        return -errno;
    char after[PATH_MAX];
    snprintf(after, sizeof(after), "%s", rest + length);
    return follow_dangling(parent, name, path, (size_t)(rest - path), after);
}

/* mkdir -p. Each round makes one component or rewrites one link, so the number of rounds bounds both. -EEXIST from a
 * round means that somebody else made the component between our two looks: look again. */
int path_make_dirs(int root, const char *path, bool *made)
{
    char current[PATH_MAX];
    bool ignored;
    if (made == NULL)
        made = &ignored;
    *made = false;
    if (snprintf(current, sizeof(current), "%s", path) >= (int)sizeof(current))
        return -ENAMETOOLONG;
    for (int tries = 0; tries < MAX_LOOKUPS; tries++) {
        const char *rest;
        CLEANUP_FD int fd = open_existing(root, current, &rest);
        if (fd < 0 || *rest == '\0')
            return steal_fd(&fd);
        int r = make_next(fd, current, rest, made);
        if (r < 0 && r != -EEXIST)
            return r;
    }
    return -ELOOP;
}

/* Splits at the last slash. The base name is used in an *at call with O_EXCL, O_NOFOLLOW or AT_SYMLINK_NOFOLLOW only:
 * it is the one component that the kernel does not resolve in-root. */
int path_parent(int root, const char *path, char base[NAME_MAX + 1])
{
    char directory[PATH_MAX];
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] == '/')
        length--;
    size_t start = length;
    while (start > 0 && path[start - 1] != '/')
        start--;
    size_t size = length - start;
    if (size > NAME_MAX || start >= sizeof(directory))
        return -ENAMETOOLONG;
    memcpy(base, path + start, size);
    base[size] = '\0';
    if (size == 0 || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
        return -EINVAL;
    memcpy(directory, path, start);
    directory[start] = '\0';
    return path_make_dirs(root, directory, NULL);
}

/* An empty file to mount on. O_EXCL and O_NOFOLLOW: only ever a new file of ours, in the parent that was resolved.
 * 0 when made; a dangling link (/etc/resolv.conf of many an image) rewrites the path instead. */
static int make_file(int root, char path[PATH_MAX])
{
    char base[NAME_MAX + 1];
    CLEANUP_FD int parent = path_parent(root, path, base);
    if (parent < 0)
        return parent;
    CLEANUP_FD int made = openat(parent, base, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (made >= 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    const char *slash = strrchr(path, '/');
    return follow_dangling(parent, base, path, slash == NULL ? 0 : (size_t)(slash - path), "");
}

/* The kind must match (a directory on a file is ENOTDIR to move_mount(2) as well, but says so without the reason). */
int path_mount_point(int root, const char *path, bool directory)
{
    char current[PATH_MAX];
    if (snprintf(current, sizeof(current), "%s", path) >= (int)sizeof(current))
        return -ENAMETOOLONG;
    for (int tries = 0; tries < MAX_LOOKUPS; tries++) {
        CLEANUP_FD int fd = path_open(root, current, O_PATH, 0);
        if (fd == -ENOENT && directory)
            fd = path_make_dirs(root, current, NULL);
        if (fd >= 0 && is_directory(fd) != directory)
            return directory ? -ENOTDIR : -EISDIR;
        if (fd != -ENOENT)
            return steal_fd(&fd);
        int r = make_file(root, current);
        if (r < 0 && r != -EEXIST)
            return r;
    }
    return -ELOOP;
}

int path_clone(const char *source, const char *below, unsigned flags)
{
    int tree;
    if (below[0] == '\0') {
        tree = sys_open_tree_clone(AT_FDCWD, source, flags);
        return tree < 0 ? -errno : tree;
    }
    CLEANUP_FD int top = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (top < 0)
        return -errno;
    CLEANUP_FD int place = path_open(top, below, O_PATH, 0);
    if (place < 0)
        return place;
    tree = sys_open_tree_clone(place, "", AT_EMPTY_PATH | flags);
    return tree < 0 ? -errno : tree;
}

/* Looking at what an fd is, instead of where it was found. False on any error: the callers refuse then. */
bool on_filesystem(int fd, long magic)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && (long)fs.f_type == magic;
}

bool is_device(int fd, unsigned major, unsigned minor)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(major, minor);
}

bool is_directory(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}
