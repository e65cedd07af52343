/* step.c: what several step functions need: arguments, the container's root, its null device, its procfs.
 *
 * The three fds are found once and kept for the whole walk. Each is checked by what it *is* (file system magic,
 * device number) and never by the path it was found at, because an image may put anything at any path.
 *
 * Read next: step.h, then any steps_*.c. */
#include "step.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "path.h"
#include "sys.h"

/* The shared page's text. What was left there by a failure that somebody tolerated is simply overwritten. */
int step_fail(struct walk *w, int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(w->detail, DETAIL_SIZE, format, args);
    va_end(args);
    return -error;
}

int step_errno(struct walk *w, const char *path)
{
    return step_fail(w, errno, "%s", path);
}

int step_number(struct walk *w, const struct plan_field *f, uint64_t max, uint64_t *value)
{
    int r = parse_number(f->text, max, value);
    return r == 0 ? 0 : step_fail(w, -r, "not a number in range: %s", f->text);
}

int step_id(struct walk *w, const struct plan_field *f, uint32_t *id)
{
    uint64_t value;
    int r = step_number(w, f, UINT32_MAX - 1, &value); /* 2^32-1 means "leave as is" to setresuid(2) */
    if (r == 0)
        *id = (uint32_t)value;
    return r;
}

int step_hex(struct walk *w, const struct plan_field *f, uint64_t *value)
{
    int r = parse_hex(f->text, value);
    return r == 0 ? 0 : step_fail(w, -r, "not a hexadecimal mask: %s", f->text);
}

/* A plan with an overlay has set it already; one that joined a container (an exec) starts at the container's "/". */
int walk_root(struct walk *w)
{
    if (w->root_fd < 0)
        w->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return w->root_fd < 0 ? step_errno(w, "/") : w->root_fd;
}

/* CVE-2025-31133: /dev/null in an image may be a symlink; what is bound over a secret would then be
 * writable and somebody else's. O_NOFOLLOW and the device number leave only the real one. */
int walk_null(struct walk *w)
{
    if (w->null_fd >= 0)
        return w->null_fd;
    int root = walk_root(w);
    if (root < 0)
        return root;
    CLEANUP_FD int fd = path_open(root, "/dev/null", O_PATH | O_NOFOLLOW, 0);
    if (fd < 0)
        return step_fail(w, -fd, "/dev/null");
    if (!is_device(fd, 1, 3))
        return step_fail(w, EINVAL, "/dev/null is not the null device");
    w->null_fd = steal_fd(&fd);
    return w->null_fd;
}

/* CVE-2025-52881: a write meant for /proc/self/attr or /proc/sys can be redirected by what lies at that path.
 * So the procfs is either the one that a `mount` step has just made (its fd was kept), or a detached
 * one made here, which no path leads to. */
int walk_proc(struct walk *w)
{
    if (w->proc_fd >= 0)
        return w->proc_fd;
    CLEANUP_FD int fs = sys_fsopen("proc");
    if (fs < 0 || sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        return step_errno(w, "a private procfs");
    w->proc_fd = sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    return w->proc_fd < 0 ? step_errno(w, "a private procfs") : w->proc_fd;
}

/* An end of file that needs no device: the read end of a pipe without a writer. */
static int empty_pipe(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    close(ends[1]);
    return ends[0];
}

/* Opened twice: as O_PATH to look at it without touching it, then for use. O_NONBLOCK, because between the two
 * a process in the container may put a FIFO there, which would hold up the open for ever. */
static int open_own_null(struct walk *w, int mode)
{
    if (walk_null(w) < 0)
        return empty_pipe();
    CLEANUP_FD int fd = path_open(w->root_fd, "/dev/null", mode | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0);
    if (fd < 0 || !is_device(fd, 1, 3) || fcntl(fd, F_SETFL, mode) < 0)
        return empty_pipe();
    return steal_fd(&fd);
}

/* The host's /dev/null must not stay: fchmod(2) through it would change the host's device node. Where the
 * container has no null device of its own, an empty pipe reads the same. */
int adopt_null(struct walk *w)
{
    for (int fd = 0; fd < 3; fd++) {
        if (!is_device(fd, 1, 3))
            continue;
        CLEANUP_FD int own = open_own_null(w, fcntl(fd, F_GETFL) & O_ACCMODE);
        if (own < 0 || dup2(own, fd) < 0)
            return step_fail(w, EIO, "fd %d: no /dev/null of the container", fd);
    }
    return 0;
}
