/* userns.c: see userns.h. What has to be done inside a user namespace can't be done by a thread of the daemon: setns(2)
 * moves whole processes. So a process is made that shares the daemon's memory (nothing of it is copied, as in vfork)
 * but not its credentials, does one thing, and ends; a file descriptor is what stays of it.
 *
 * It runs a few system calls, on a stack of its own, with all signals blocked.
 *
 * Serves minidock/linux/shim.py. Read next: clone(2), user_namespaces(7), steps_userns.c. */
#include "userns.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "idmap.h"
#include "sys.h"
#include "util.h"

#define STACK_SIZE (256 << 10)

/* With signals blocked: the daemon's handlers are Python's, and the child has Python's memory. */
static pid_t clone_aside(int (*work)(void *), void *argument, char *stack, int flags)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = clone(work, stack + STACK_SIZE, CLONE_VM | flags, argument);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid < 0 ? -error : pid;
}

/* __WALL: it was cloned without a signal to its parent, so that nobody else waits for it by accident. */
static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        continue;
}

struct task {
    int userns, result;
    const char *base;
};

/* Runs work to its end; the calling thread stands still meanwhile (CLONE_VFORK), so that errno is the child's alone. An
 * fd that it opens is the daemon's, too (CLONE_FILES). */
static int run_aside(int (*work)(void *), struct task *task, int flags)
{
    CLEANUP_FREE char *stack = malloc(STACK_SIZE);
    if (stack == NULL)
        return -ENOMEM;
    task->result = -EIO;
    pid_t pid = clone_aside(work, task, stack, CLONE_VFORK | CLONE_FILES | flags);
    if (pid < 0)
        return pid;
    reap(pid);
    return task->result;
}

/* Only system calls that never return: the parent runs on, and errno is one for both. */
__attribute__((noreturn)) static int stay(void *unused)
{
    (void)unused;
    for (;;)
        syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
}

/* One write: the kernel takes a map whole, and once. */
static int write_map(pid_t pid, const char *name, const char *map)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write(fd, map, strlen(map)) == (ssize_t)strlen(map) ? 0 : -errno;
}

static int open_namespace(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The maps are written from outside, as root of the parent: only so may they hold more than the writer's own number, and
 * setgroups(2) stays allowed. See: user_namespaces(7) "Defining user and group ID mappings". */
int md_userns(const char *uid_map, const char *gid_map)
{
    CLEANUP_FREE char *stack = malloc(STACK_SIZE);
    if (stack == NULL)
        return -ENOMEM;
    pid_t pid = clone_aside(stay, NULL, stack, CLONE_NEWUSER);
    if (pid < 0)
        return pid;
    int r = write_map(pid, "uid_map", uid_map);
    if (r == 0)
        r = write_map(pid, "gid_map", gid_map);
    if (r == 0)
        r = open_namespace(pid);
    kill(pid, SIGKILL);
    reap(pid);
    return r;
}

/* A namespace belongs to the user namespace that its maker is in. */
static int make_network(void *argument)
{
    struct task *task = argument;
    int fd = -1;
    if (setns(task->userns, CLONE_NEWUSER) == 0 && unshare(CLONE_NEWNET) == 0)
        fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    task->result = fd < 0 ? -errno : fd;
    return 0;
}

int md_netns_in(int userns)
{
    struct task task = {.userns = userns};
    return run_aside(make_network, &task, 0);
}

/* The mount alone would succeed where its root can't be written in. */
static int make_file_in(int tree)
{
    struct stat root;
    if (fstatat(tree, "", &root, AT_EMPTY_PATH) < 0)
        return -errno;
    int r = idmap_act_as(root.st_uid, root.st_gid);
    CLEANUP_FD int file = r < 0 ? -1 : openat(tree, "file", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return r < 0 ? r : file < 0 ? -errno : 0;
}

static int try_overlay(void *argument)
{
    struct task *task = argument;
    const char *what;
    if (chdir(task->base) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        task->result = -errno;
        return 0;
    }
    char layers[PATH_MAX], upper[PATH_MAX], work[PATH_MAX], place[PATH_MAX];
    snprintf(layers, sizeof(layers), "%s/layers", task->base);
    snprintf(upper, sizeof(upper), "%s/home/upper", task->base);
    snprintf(work, sizeof(work), "%s/home/work", task->base);
    snprintf(place, sizeof(place), "%s/home/place", task->base);
    CLEANUP_FD int tree = idmap_overlay(task->userns, layers, "lower", upper, work, "", place, &what);
    task->result = tree < 0 ? tree : make_file_in(tree);
    return 0;
}

int md_try_idmap(int userns, const char *base)
{
    struct task task = {.userns = userns, .base = base};
    return run_aside(try_overlay, &task, CLONE_NEWNS);
}

int md_act_as(unsigned uid, unsigned gid)
{
    return idmap_act_as(uid, gid);
}
