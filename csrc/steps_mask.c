/* steps_mask.c: hiding and write-protecting what the kernel shows to everybody.
 *
 * /proc and /sys are only half namespaced: /proc/kcore is the host's memory, /proc/sys/kernel the host's settings.
 * The OCI spec lists such paths as maskedPaths and readonlyPaths. A mask is a mount on top: an empty
 * thing in its place. The mount can't be taken away inside, because CAP_SYS_ADMIN is not given.
 *
 * A path that this kernel doesn't have is fine: the list is written for all kernels.
 *
 * Serves: the middle of a start's plan. Read next: step.c (walk_null), steps_mount.c. */
#include <fcntl.h>
#include <unistd.h>

#include "path.h"
#include "step.h"
#include "sys.h"

/* The place, -ENOENT when the kernel doesn't have it, another -errno with the reason left. */
static int open_existing_place(struct walk *w, const char *path)
{
    if (!w->is_private)
        return step_fail(w, EINVAL, "mounts still propagate to the host: `private` must come first");
    int root = walk_root(w);
    if (root < 0)
        return root;
    int fd = path_open(root, path, O_PATH, 0);
    if (fd == -ENOENT || fd == -ENOTDIR)
        return -ENOENT;
    return fd < 0 ? step_fail(w, -fd, "%s", path) : fd;
}

/* One empty tmpfs serves all masked directories: the first mask attaches it, the others clone it. */
static int empty_directory(struct walk *w)
{
    if (w->empty_fd >= 0)
        return sys_open_tree_clone(w->empty_fd, "", AT_EMPTY_PATH);
    CLEANUP_FD int fs = sys_fsopen("tmpfs");
    if (fs < 0 || sys_fsconfig(fs, FSCONFIG_SET_STRING, "nr_blocks", "1") < 0 ||
        sys_fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "1") < 0 ||
        sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        return -1;
    int mount = sys_fsmount(fs, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (mount >= 0)
        w->empty_fd = fcntl(mount, F_DUPFD_CLOEXEC, 3); /* stays usable as a source once the mount is attached */
    return mount;
}

/* mask: an empty thing over a path: the null device over a file, an empty read-only tmpfs over a directory.
 * Why:   /proc/kcore, /proc/keys, /sys/firmware and their like tell about the host, or let the host be measured.
 * Order: behind the mounts of /proc, /sys and /dev. The null device is checked by its number (CVE-2025-31133).
 * See:   OCI runtime spec "maskedPaths", proc(5).   Look: wc -c /proc/timer_list inside: 0 */
int step_mask(struct walk *w, const struct plan_step *s)
{
    const char *path = s->field[0].text;
    CLEANUP_FD int place = open_existing_place(w, path);
    if (place == -ENOENT)
        return 0;
    if (place < 0)
        return place;
    CLEANUP_FD int cover = -1;
    if (is_directory(place)) {
        cover = empty_directory(w);
    } else {
        int null = walk_null(w);
        if (null < 0)
            return null;
        cover = sys_open_tree_clone(null, "", AT_EMPTY_PATH);
    }
    return cover < 0 || sys_move_mount(cover, place) < 0 ? step_errno(w, path) : 0;
}

/* readonly: a path bound onto itself, read-only.
 * Why:   /proc/sys, /proc/irq, /proc/sysrq-trigger and so on are the host's controls; root in the container may
 *        look at them but not turn them.
 * Order: behind the mounts and behind `sysctl`, which writes there.
 * See:   OCI runtime spec "readonlyPaths", mount_setattr(2).   Look: echo 1 >/proc/sys/kernel/panic inside: EROFS */
int step_readonly(struct walk *w, const struct plan_step *s)
{
    const struct sys_mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    const char *path = s->field[0].text;
    CLEANUP_FD int place = open_existing_place(w, path);
    if (place == -ENOENT)
        return 0;
    if (place < 0)
        return place;
    CLEANUP_FD int tree = sys_open_tree_clone(place, "", AT_EMPTY_PATH | AT_RECURSIVE);
    if (tree < 0 || sys_mount_setattr(tree, AT_EMPTY_PATH | AT_RECURSIVE, &attr) < 0 || sys_move_mount(tree, place) < 0)
        return step_errno(w, path);
    return 0;
}
