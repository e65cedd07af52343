/* steps_node.c: directories, device nodes and links in the container's root.
 *
 * /dev of a container is a small tmpfs with a dozen names in it, made here one by one. An image may have /dev,
 * or a directory of it, as a symlink to a place on the host; runc 1.1.5 made ptmx and the std links through
 * such a link (CVE-2026-41579). Here each name is made with an *at call in a directory fd that was
 * resolved inside the root, so the worst that an image can do is to have the nodes in an odd place of its own.
 *
 * Modes are exact: the child's umask is 0 until the `signals` step.
 *
 * Serves: the middle of a start's plan. Read next: path.c. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "path.h"
#include "step.h"

/* MODE UID GID, as three fields of a plan. */
struct owner {
    mode_t mode;
    uint32_t uid, gid;
};

static int parse_owner(struct walk *w, const struct plan_field *f, struct owner *owner)
{
    if (parse_mode(f[0].text, &owner->mode) < 0)
        return step_fail(w, EINVAL, "not an octal mode: %s", f[0].text);
    int r = step_id(w, &f[1], &owner->uid);
    if (r == 0)
        r = step_id(w, &f[2], &owner->gid);
    return r;
}

static int open_parent(struct walk *w, const char *path, char base[NAME_MAX + 1])
{
    int root = walk_root(w);
    if (root < 0)
        return root;
    int parent = path_parent(root, path, base);
    return parent < 0 ? step_fail(w, -parent, "%s", path) : parent;
}

/* mkdir: a directory in the root, with the missing ones above it (root's, 0755).
 * Why:   mount points, volumes and working directories that the image doesn't have.
 * Order: behind overlay; before what is put into it. One that exists keeps its mode and owner, as with Docker.
 *        One component at a time: mkdir -p by path follows a symlink out (CVE-2024-45310).
 * See:   mkdirat(2), openat2(2) RESOLVE_IN_ROOT.   Look: ls -ld /proc/PID/root/PATH */
int step_mkdir(struct walk *w, const struct plan_step *s)
{
    const char *path = s->field[0].text;
    struct owner owner;
    bool made = false;
    int root = walk_root(w), r = root < 0 ? root : parse_owner(w, &s->field[1], &owner);
    if (r < 0)
        return r;
    CLEANUP_FD int fd = path_make_dirs(root, path, &made);
    if (fd < 0)
        return step_fail(w, -fd, "%s", path);
    if (!made)
        return 0;
    CLEANUP_FD int open_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* fchmod wants a real one */
    if (open_fd < 0 || fchown(open_fd, owner.uid, owner.gid) < 0 || fchmod(open_fd, owner.mode) < 0)
        return step_errno(w, path);
    return 0;
}

/* The kernel packs a device number into 32 bits: 12 for the major, 20 for the minor. */
static int parse_device(struct walk *w, const struct plan_step *s, mode_t *type, dev_t *device)
{
    static const struct {
        const char *letter;
        mode_t type;
    } types[] = {{"c", S_IFCHR}, {"b", S_IFBLK}, {"p", S_IFIFO}};
    uint64_t major, minor;
    int r = step_number(w, &s->field[2], 4095, &major);
    if (r == 0)
        r = step_number(w, &s->field[3], 1048575, &minor);
    if (r < 0)
        return r;
    *device = makedev((unsigned)major, (unsigned)minor);
    for (size_t i = 0; i < ARRAY_LENGTH(types); i++) {
        if (strcmp(s->field[1].text, types[i].letter) == 0) {
            *type = types[i].type;
            return 0;
        }
    }
    return step_fail(w, EINVAL, "unknown node type: %s", s->field[1].text);
}

/* mknod: a device node.
 * Why:   null, zero, full, random, urandom and tty: what every program may count on, and nothing else.
 * Order: behind the mount of /dev. A node that is there already is taken only if it is exactly the same
 *        device: an image may not bring a "null" of its own.
 * See:   mknod(2), null(4), OCI runtime spec "Default Devices".   Look: ls -l /proc/PID/root/dev */
int step_mknod(struct walk *w, const struct plan_step *s)
{
    const char *path = s->field[0].text;
    char base[NAME_MAX + 1];
    struct owner owner;
    struct stat st;
    mode_t type = 0;
    dev_t device = 0;
    int r = parse_device(w, s, &type, &device);
    if (r == 0)
        r = parse_owner(w, &s->field[4], &owner);
    if (r < 0)
        return r;
    CLEANUP_FD int parent = open_parent(w, path, base);
    if (parent < 0)
        return parent;
    if (mknodat(parent, base, type | owner.mode, device) == 0) {
        bool given = owner.uid != 0 || owner.gid != 0;
        r = given ? fchownat(parent, base, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) : 0;
        return r < 0 ? step_errno(w, path) : 0;
    }
    if (errno != EEXIST || fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return step_errno(w, path);
    if ((st.st_mode & S_IFMT) != type || (type != S_IFIFO && st.st_rdev != device))
        return step_fail(w, EEXIST, "%s is something else in this image", path);
    return 0;
}

/* symlink: /dev/fd, /dev/stdin, /dev/stdout, /dev/stderr, /dev/ptmx.
 * Why:   shells and programs expect these names; they lead into /proc/self/fd and devpts.
 * Order: behind the mount of /dev. The target is text: it need not exist yet.
 * See:   symlink(2), OCI runtime spec "Dev symbolic links".   Look: ls -l /proc/PID/root/dev */
int step_symlink(struct walk *w, const struct plan_step *s)
{
    const char *to = s->field[0].text, *path = s->field[1].text;
    char base[NAME_MAX + 1], existing[PATH_MAX];
    CLEANUP_FD int parent = open_parent(w, path, base);
    if (parent < 0)
        return parent;
    if (symlinkat(to, parent, base) == 0)
        return 0;
    if (errno != EEXIST)
        return step_errno(w, path);
    ssize_t n = readlinkat(parent, base, existing, sizeof(existing));
    if (n < 0 || (size_t)n != s->field[0].size || memcmp(existing, to, (size_t)n) != 0)
        return step_fail(w, EEXIST, "%s is something else in this image", path);
    return 0;
}
