/* steps_root.c: the container's root file system, from layers to "/".
 *
 * A start makes the root in three moves: `overlay` (or `rootfs`) mounts it somewhere on the host's tree, in a
 * mount namespace that the host doesn't see; the steps of steps_mount.c furnish it; `pivot_root`
 * turns it into "/" and lets go of the host's tree. The root is known by its fd from the first
 * move on: no path in between is looked up from the host's "/" again.
 *
 * Serves: the middle of a start's plan. Read next: overlay.c, steps_mount.c. */
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <unistd.h>

#include "idmap.h"
#include "overlay.h"
#include "path.h"
#include "step.h"
#include "sys.h"

static int need_private(struct walk *w)
{
    return w->is_private ? 0 : step_fail(w, EINVAL, "mounts still propagate to the host: `private` must come first");
}

/* The mount as an fd that is attached nowhere: `userns` takes it into the container's mount namespace. */
static int mount_shifted(struct walk *w, const struct plan_field *f, const char **what)
{
    int userns = -1, r = parse_extra_fd(w, &f[6], &userns);
    if (r < 0)
        return r;
    int tree = idmap_overlay(userns, f[1].text, f[2].text, f[3].text, f[4].text, f[5].text, f[0].text, what);
    if (tree < 0)
        return step_fail(w, -tree, "%s with shifted ids", *what);
    close_fd(&w->root_fd);
    w->root_fd = tree;
    w->root_detached = true;
    return 0;
}

static int mount_plain(struct walk *w, const struct plan_field *f, const char **what)
{
    const char *target = f[0].text;
    int r = overlay_mount(f[1].text, f[2].text, f[3].text, f[4].text, f[5].text, target, what);
    if (r < 0)
        return step_fail(w, -r, "%s", *what);
    close_fd(&w->root_fd);
    w->root_fd = open(target, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return w->root_fd < 0 || chdir("/") < 0 ? step_errno(w, target) : 0;
}

/* overlay: the image's layers, read-only and shared by all its containers, under one writable layer. With a seventh
 *        field, an fd of a user namespace, their owners are shifted to its numbers, and on the disk stay what they are.
 * Why:   a container starts in a millisecond whatever the size of its image, and leaves behind only what it changed.
 * Order: behind `private`: this mount must never show in the host's namespace; before all steps
 *        with paths in the container, which start at the fd that is kept here.
 * See:   Documentation/filesystems/overlayfs.rst, mount(2).   Look: head -1 /proc/PID/mountinfo */
int step_overlay(struct walk *w, const struct plan_step *s)
{
    const char *target = s->field[0].text, *what = target;
    int r = need_private(w);
    if (r == 0)
        r = s->nfields > 6 ? mount_shifted(w, s->field, &what) : mount_plain(w, s->field, &what);
    if (r < 0)
        return r;
    return on_filesystem(w->root_fd, OVERLAYFS_SUPER_MAGIC) ? 0 : step_fail(w, EINVAL, "%s is not the overlay", target);
}

/* rootfs: a ready directory as the root, in place of an overlay (an OCI bundle's rootfs).
 * Why:   pivot_root(2) wants a mount point, so the directory is bound onto itself.
 * Order: as overlay. The directory may not be a symlink (CVE-2019-18837): a bundle could point at "/".
 *        READONLY takes effect at pivot_root, because mount points are still to be made in it.
 * See:   open_tree(2), OCI runtime spec "root".   Look: head -1 /proc/PID/mountinfo */
int step_rootfs(struct walk *w, const struct plan_step *s)
{
    const char *path = s->field[0].text;
    int r = need_private(w);
    if (r < 0)
        return r;
    if (strcmp(s->field[1].text, "0") != 0 && strcmp(s->field[1].text, "1") != 0)
        return step_fail(w, EINVAL, "READONLY is neither 0 nor 1: %s", s->field[1].text);
    CLEANUP_FD int target = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (target < 0)
        return step_errno(w, path);
    CLEANUP_FD int tree = sys_open_tree_clone(target, "", AT_EMPTY_PATH | AT_RECURSIVE);
    if (tree < 0 || sys_move_mount(tree, target) < 0)
        return step_errno(w, path);
    close_fd(&w->root_fd);
    w->root_fd = steal_fd(&tree);
    w->root_readonly = s->field[1].text[0] == '1';
    return 0;
}

static int make_root_readonly(struct walk *w)
{
    const struct sys_mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    int root = walk_root(w);
    if (root < 0)
        return root;
    return sys_mount_setattr(root, AT_EMPTY_PATH, &attr) < 0 ? step_errno(w, "/") : 0;
}

/* pivot_root(2): make the rootfs mount this namespace's "/", and drop the host's.
 * Why:   chroot(2) only moves a pointer; an open fd escapes it. After this the host's tree is not in the
 *        namespace at all: there is nothing to escape to.
 * Order: behind the mounts (their sources lie on the old root), before the capabilities are dropped (it needs
 *        CAP_SYS_ADMIN). "." twice stacks the old root on the new one, so no directory for it is needed.
 *        Standard fds that are still the host's /dev/null are exchanged here, too.
 * See:   pivot_root(2) NOTES, mount_namespaces(7).   Look: cat /proc/PID/mountinfo */
int step_pivot_root(struct walk *w, const struct plan_step *s)
{
    (void)s;
    int r = need_private(w);
    if (r < 0)
        return r;
    if (w->root_fd < 0)
        return step_fail(w, EINVAL, "no root: `overlay` or `rootfs` must come first");
    CLEANUP_FD int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0 || fchdir(w->root_fd) < 0 || sys_pivot_root(".", ".") < 0)
        return step_errno(w, "/");
    if (fchdir(old) < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return step_errno(w, "the old root");
    w->pivoted = true;
    if (w->root_readonly) {
        r = make_root_readonly(w);
        if (r < 0)
            return r;
    }
    return adopt_null(w);
}

/* remount_ro: the root mount read-only (--read-only).
 * Why:   the program can't change its own image; volumes, tmpfs and /dev are mounts of their own and stay writable.
 * Order: last of the steps that make mount points or files in the root. Needs CAP_SYS_ADMIN.
 * See:   mount_setattr(2).   Look: head -1 /proc/PID/mountinfo */
int step_remount_ro(struct walk *w, const struct plan_step *s)
{
    (void)s;
    return w->is_private ? make_root_readonly(w) : need_private(w);
}
