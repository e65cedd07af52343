/* shim.c: the few system calls that the daemon itself needs and Python lacks (minidock._shim, by cffi).
 *
 * Serves minidock/linux/shim.py, which turns -errno into OSError. cffi lets go of Python's lock around
 * each call, so a call that blocks holds up only its own thread. All of it must be safe in a process with
 * threads: nothing here forks (posix_spawn does, without copying the daemon's memory), and the one call
 * that changes a working directory does so in a thread of its own.
 *
 * Compiled by setup.py from csrc/shim_build.py, together with util.c and overlay.c. Read next: shim_build.py. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>

#include "overlay.h"
#include "sys.h"
#include "util.h"

#define MAX_FDS  64
#define FIRST_FD 3 /* fds[i] becomes fd 3 + i of the new process */

/* Copies of the fds above all their new numbers: dup2 in the child can then not overwrite one still needed. */
static int lift(const int *fds, int count, int *lifted)
{
    for (int i = 0; i < count; i++) {
        lifted[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FD + MAX_FDS);
        if (lifted[i] < 0)
            return -errno;
    }
    return 0;
}

/* posix_spawn's functions return an errno. The last of the fds is the program: it comes behind a gap, which tells the
 * others' end, and has to be open still when it is executed. */
static int arrange_fds(posix_spawn_file_actions_t *actions, const int *lifted, int count)
{
    int r = 0, program = FIRST_FD + count;
    for (int fd = 0; fd < FIRST_FD && r == 0; fd++)
        r = posix_spawn_file_actions_addopen(actions, fd, "/dev/null", O_RDWR, 0);
    for (int i = 0; i < count - 1 && r == 0; i++)
        r = posix_spawn_file_actions_adddup2(actions, lifted[i], FIRST_FD + i);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(actions, lifted[count - 1], program);
    if (r == 0)
        r = posix_spawn_file_actions_addclose(actions, program - 1);
    /* What the daemon itself was started with (a pipe of the shell, say) would live on in the monitor. */
    return r != 0 ? r : posix_spawn_file_actions_addclosefrom_np(actions, program + 1);
}

/* posix_spawn(3) of the sealed memfd: the monitor.
 * Why:   vfork in disguise: the daemon's page tables are not copied (17 to 24 ms at 200 MB), and no Python runs in
 *        the child. A memfd has no path that a container could overwrite (CVE-2019-5736).
 * Order: the plan and the listening socket must exist. Signals and mask are reset: CPython ignores SIGPIPE.
 * See:   posix_spawn(3), memfd_create(2).   Look: ls -l /proc/MONITOR/exe */
static int spawn_lifted(const int *lifted, int count, char *const argv[])
{
    char path[64];
    char *const env[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    pid_t pid = 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", FIRST_FD + count);
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    int r = arrange_fds(&actions, lifted, count);
    if (r == 0)
        r = posix_spawn(&pid, path, &actions, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return r == 0 ? (int)pid : -r;
}

/* The daemon has threads that open and close fds meanwhile; the lifted copies are ours alone and close-on-exec. */
int md_spawn(int exe_fd, const int *fds, int nfds, char *const argv[])
{
    int all[MAX_FDS], lifted[MAX_FDS];
    if (nfds < 0 || nfds >= MAX_FDS)
        return -EINVAL;
    for (int i = 0; i <= nfds; i++)
        lifted[i] = -1;
    memcpy(all, fds, sizeof(int) * (size_t)nfds);
    all[nfds] = exe_fd; /* comes behind the others: the path that is executed is looked up in the child */
    int r = lift(all, nfds + 1, lifted);
    if (r == 0)
        r = spawn_lifted(lifted, nfds + 1, argv);
    for (int i = 0; i <= nfds; i++)
        close_fd(&lifted[i]);
    return r;
}

int md_openat2(int dirfd, const char *path, int flags, int mode, unsigned long long resolve)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)flags, .mode = (uint64_t)(unsigned)mode, .resolve = resolve};
    /* EAGAIN: ".." met a rename somewhere on the system, and the kernel can't vouch for the result. */
    for (int tries = 0; tries < 64; tries++) {
        int fd = sys_openat2(dirfd, path, &how);
        if (fd >= 0 || errno != EAGAIN)
            return fd >= 0 ? fd : -errno;
    }
    return -EAGAIN;
}

/* Both act on the calling thread only: namespaces belong to a task, not to a process. */
int md_setns(int fd, int nstype)
{
    return setns(fd, nstype) < 0 ? -errno : 0;
}

int md_unshare(int flags)
{
    return unshare(flags) < 0 ? -errno : 0;
}

/* A view is for reading files: nothing is run, no device is opened. */
#define VIEW_ATTRS (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

/* A detached, read-only copy of the mount at path. */
static int clone_view(const char *path)
{
    const struct sys_mount_attr attr = {.attr_set = VIEW_ATTRS, .propagation = MS_PRIVATE};
    CLEANUP_FD int tree = sys_open_tree_clone(AT_FDCWD, path, 0);
    if (tree < 0 || sys_mount_setattr(tree, AT_EMPTY_PATH, &attr) < 0)
        return -errno;
    return steal_fd(&tree);
}

/* Takes the next of the ':'-joined lowers as base/lower. 1, or 0 at the end, or -errno. */
static int next_lower(const char *base, const char **lowers, char path[PATH_MAX])
{
    int length = (int)strcspn(*lowers, ":");
    if (length == 0)
        return **lowers == '\0' ? 0 : -EINVAL;
    if (snprintf(path, PATH_MAX, "%s/%.*s", base, length, *lowers) >= PATH_MAX)
        return -ENAMETOOLONG;
    *lowers += length + ((*lowers)[length] == ':');
    return 1;
}

/* fsopen(2) and a "lowerdir+" for each layer: never attached anywhere. -EINVAL before Linux 6.5, and for a path
 * of over 255 bytes. */
static int view_by_config(const char *base, const char *lowers)
{
    char path[PATH_MAX];
    int r;
    CLEANUP_FD int fs = sys_fsopen("overlay");
    if (fs < 0)
        return -errno;
    while ((r = next_lower(base, &lowers, path)) > 0) {
        if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", path) < 0)
            return -errno;
    }
    if (r < 0)
        return r;
    if (sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        return -errno;
    int mount = sys_fsmount(fs, VIEW_ATTRS);
    return mount < 0 ? -errno : mount;
}

struct view_request {
    const char *base, *lowers;
    int result;
};

/* The way that works on every kernel: mount(2) in a mount namespace that only this thread is in, and take a detached
 * copy along. The namespace and the working directory end with the thread. */
static void *view_in_thread(void *argument)
{
    struct view_request *request = argument;
    const char *what;
    if (unshare(CLONE_FS | CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        request->result = -errno;
        return NULL;
    }
    request->result = overlay_mount(request->base, request->lowers, "", "", "", request->base, &what);
    if (request->result == 0)
        request->result = clone_view(request->base);
    return NULL;
}

static int view_by_thread(const char *base, const char *lowers)
{
    struct view_request request = {base, lowers, -EINVAL};
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the daemon's signals are for its own threads */
    int r = pthread_create(&thread, NULL, view_in_thread, &request);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        return -r;
    pthread_join(thread, NULL);
    return request.result;
}

/* Three ways, from cheap to dear: a clone of the one layer, a file system context, a thread. */
int md_overlay_view(const char *base, const char *lowers)
{
    char path[PATH_MAX];
    int r, count = 0;
    for (const char *rest = lowers; (r = next_lower(base, &rest, path)) > 0; count++)
        continue;
    if (r < 0 || count == 0)
        return r < 0 ? r : -EINVAL;
    if (count == 1) /* an overlay of one layer is refused by the kernel; the layer itself is the view */
        return clone_view(path);
    r = view_by_config(base, lowers);
    return r == -EINVAL ? view_by_thread(base, lowers) : r;
}
