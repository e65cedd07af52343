/* tree.c: see tree.h. A stopped container's files as they would be if it ran: its overlay with its volumes on it.
 *
 * Nothing of it appears in the host's mount table. A thread with a mount namespace of its own mounts the overlay and
 * puts the volumes on it, then takes the whole as a detached copy, an fd; the namespace ends with the thread, the
 * copy with the fd. Targets are resolved in the new root, as in a start, so that a link in the container never makes
 * a volume appear (or a directory be made) outside of it: CVE-2026-42306 was docker's redirected mount during cp.
 *
 * Serves minidock/linux/shim.py (container_tree). Read next: overlay.c, path.c; open_tree(2), mount_setattr(2). */
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>

#include "overlay.h"
#include "path.h"
#include "sys.h"
#include "util.h"

/* Files are read and written here, nothing is run and no device is opened. */
#define TREE_ATTRS (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

struct tree_request {
    const struct md_tree *tree;
    int result;
};

/* One volume or bind onto its target. Where nothing may be written, a target that is not there stays away. */
static int put_bind(int root, const struct md_tree *tree, int index)
{
    const char *target = tree->targets[index];
    const struct sys_mount_attr attr = {.attr_set = tree->readonly[index] ? MOUNT_ATTR_RDONLY : 0,
                                        .propagation = MS_PRIVATE};
    CLEANUP_FD int mount = path_clone(tree->sources[index], tree->below[index], AT_RECURSIVE);
    if (mount < 0)
        return mount;
    if (sys_mount_setattr(mount, AT_EMPTY_PATH | AT_RECURSIVE, &attr) < 0)
        return -errno;
    bool writable = tree->upper[0] != '\0';
    CLEANUP_FD int place =
        writable ? path_mount_point(root, target, is_directory(mount)) : path_open(root, target, O_PATH, 0);
    if (place < 0)
        return !writable && place == -ENOENT ? 0 : place;
    return sys_move_mount(mount, place) < 0 ? -errno : 0;
}

/* The detached copy. A read-only root is so without what is mounted on it. */
static int take_copy(int root, const struct md_tree *tree)
{
    const struct sys_mount_attr all = {.attr_set = TREE_ATTRS | (tree->readonly_all ? MOUNT_ATTR_RDONLY : 0)};
    const struct sys_mount_attr top = {.attr_set = MOUNT_ATTR_RDONLY};
    CLEANUP_FD int copy = sys_open_tree_clone(root, "", AT_EMPTY_PATH | AT_RECURSIVE);
    if (copy < 0 || sys_mount_setattr(copy, AT_EMPTY_PATH | AT_RECURSIVE, &all) < 0)
        return -errno;
    if (tree->readonly_root && sys_mount_setattr(copy, AT_EMPTY_PATH, &top) < 0)
        return -errno;
    return steal_fd(&copy);
}

static int build(const struct md_tree *tree)
{
    const char *what;
    if (unshare(CLONE_FS | CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    int r = overlay_mount(tree->base, tree->lowers, tree->upper, tree->work, "", tree->place, &what);
    if (r < 0)
        return r;
    CLEANUP_FD int root = open(tree->place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return -errno;
    for (int i = 0; i < tree->count && r == 0; i++)
        r = put_bind(root, tree, i);
    return r < 0 ? r : take_copy(root, tree);
}

static void *build_in_thread(void *argument)
{
    struct tree_request *request = argument;
    request->result = build(request->tree);
    return NULL;
}

int md_container_tree(const struct md_tree *tree)
{
    struct tree_request request = {tree, -EINVAL};
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the daemon's signals are for its own threads */
    int r = pthread_create(&thread, NULL, build_in_thread, &request);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        return -r;
    pthread_join(thread, NULL);
    return request.result;
}
