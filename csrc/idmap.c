/* idmap.c: see idmap.h. How layers that are stored once can belong to a different "root" in each container.
 *
 *     on the disk             through the mount               inside the user namespace
 *     owner 0        ──▶      owner 100000          ──▶       owner 0
 *     owner 1000     ◀──      owner 101000          ◀──       owner 1000
 *
 * An idmapped mount (mount_setattr(2), MOUNT_ATTR_IDMAP) adds a user namespace's numbers on the way out and takes them
 * off on the way in. An overlay can't be such a mount, but its layers can (Linux 5.19). So the two directories that
 * hold them are each covered by a shifted mount of themselves, in a mount namespace that nobody else sees, and the
 * overlay is mounted from the same paths as ever.
 *
 * Whoever mounts an overlay lends it his rights: it works in the upper directory as he would. The host's root, 0, has no
 * number behind a mount that begins at 100000, and could make no file there (EOVERFLOW); hence idmap_act_as().
 *
 * See: mount_setattr(2) "ID-mapped mounts", Documentation/filesystems/idmappings.rst. Read next: overlay.c. */
#include "idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

#include "overlay.h"
#include "sys.h"
#include "util.h"

int idmap_tree(int tree, int userns)
{
    const struct sys_mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns};
    return sys_mount_setattr(tree, AT_EMPTY_PATH, &attr) < 0 ? -errno : 0;
}

/* A shifted mount of a directory, on top of the directory itself. */
static int cover(const char *path, int userns)
{
    CLEANUP_FD int place = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP_FD int tree = place < 0 ? -1 : sys_open_tree_clone(place, "", AT_EMPTY_PATH);
    if (tree < 0)
        return -errno;
    int r = idmap_tree(tree, userns);
    if (r == 0 && sys_move_mount(tree, place) < 0)
        r = -errno;
    return r;
}

/* setfsuid(2) to another than root takes some capabilities out of the effective set; they are still permitted. */
static int raise_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, sets) < 0)
        return -errno;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        sets[i].effective = sets[i].permitted;
    return syscall(SYS_capset, &header, sets) < 0 ? -errno : 0;
}

/* setfsuid(2) tells no error: -1 asks what it is now. */
int idmap_act_as(uid_t uid, gid_t gid)
{
    setfsgid(gid);
    setfsuid(uid);
    if (setfsgid((gid_t)-1) != (int)gid || setfsuid((uid_t)-1) != (int)uid)
        return -EPERM;
    return raise_capabilities();
}

/* As who owns `base`, which is root's on the disk: through the cover, that is the container's root. */
static int mount_as_owner(const char *base, const char *lowers, const char *upper, const char *work,
                          const char *options, const char *target, const char **what)
{
    struct stat owner;
    if (stat(base, &owner) < 0)
        return -errno;
    int r = idmap_act_as(owner.st_uid, owner.st_gid);
    if (r == 0)
        r = overlay_mount(base, lowers, upper, work, options, target, what);
    int back = idmap_act_as(0, 0);
    return r < 0 ? r : back;
}

int idmap_overlay(int userns, const char *base, const char *lowers, const char *upper, const char *work,
                  const char *options, const char *target, const char **what)
{
    char home[PATH_MAX];
    const char *slash = strrchr(upper, '/');
    *what = upper;
    if (slash == NULL || slash == upper ||
        snprintf(home, sizeof(home), "%.*s", (int)(slash - upper), upper) >= PATH_MAX)
        return -EINVAL;
    int r = cover(home, userns);
    if (r < 0)
        return r;
    *what = base;
    r = cover(base, userns);
    if (r == 0)
        r = mount_as_owner(base, lowers, upper, work, options, target, what);
    int tree = r < 0 ? r : sys_open_tree_clone(AT_FDCWD, target, 0);
    r = tree == -1 ? -errno : tree;
    /* The covers have done their work, and take the place that was mounted on along. An overlay keeps its layers. */
    if (chdir("/") < 0)
        return -errno;
    umount2(base, MNT_DETACH);
    umount2(home, MNT_DETACH);
    return r;
}
