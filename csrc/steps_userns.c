/* steps_userns.c: a root that is nobody: the container's processes in a user namespace (minidockd --userns-remap).
 *
 * Two processes walk such a plan. The first is root of the host, in a mount namespace of its own: it mounts the layers,
 * opens what of the host the container gets, and sets limits that only the host's root may set. Then it
 * joins the user namespace, and has no rights outside from there on: it only gives birth to the second.
 *
 *     monitor ── clone3 ──▶ first: overlay, tree …, userns ──▶ second: mount, bind, … execve
 *        ▲                    └─ ends                             │    a child of the monitor, too
 *        └───────────────── its pidfd ────────────────────────────┘
 *
 * Why two: a process is born into its pid namespace, and who makes a namespace decides which user namespace owns it.
 * Made from inside, they are the container's own: CAP_NET_ADMIN counts for its network and for no other.
 *
 * Read next: user_namespaces(7), idmap.c, launch.c (adopt). */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "path.h"
#include "report.h"
#include "step.h"
#include "sys.h"

#define SHELF "/dev"

/* The trees, attached to a small tmpfs. What is attached when a user namespace gets its copy of the mounts is locked there:
 * nobody inside takes a read-only flag away, or looks under what the host has mounted in a directory. It lies on /dev,
 * which every host has and nobody needs any more.
 * See: mount_namespaces(7) "Restrictions on mount namespaces". */
static int fill_shelf(struct walk *w)
{
    CLEANUP_FD int dev = open(SHELF, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_FD int fs = sys_fsopen("tmpfs");
    if (dev < 0 || fs < 0 || sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        return step_errno(w, "a place for trees");
    CLEANUP_FD int shelf = sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (shelf < 0 || sys_move_mount(shelf, dev) < 0)
        return step_errno(w, "a place for trees");
    for (uint32_t i = 0; i < w->ntrees; i++) {
        char name[16];
        snprintf(name, sizeof(name), "/%u", i);
        CLEANUP_FD int place = path_mount_point(shelf, name, is_directory(w->trees[i]));
        if (place < 0)
            return step_fail(w, -place, "a place for tree:%u", i);
        if (sys_move_mount(w->trees[i], place) < 0)
            return step_fail(w, errno, "a place for tree:%u", i);
        close_fd(&w->trees[i]);
    }
    return 0;
}

/* Their copies; and on top of them the root, which was mounted where host paths are known. pivot_root moves it from there.
 * (Not on top of "/": setns(2) into this namespace would then make it the root at once.) */
static int attach_root(struct walk *w)
{
    w->shelf_fd = open(SHELF, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (w->shelf_fd < 0)
        return step_errno(w, "the trees in the new mount namespace");
    if (w->root_detached && sys_move_mount(w->root_fd, w->shelf_fd) < 0)
        return step_errno(w, "the root in the new mount namespace");
    w->root_detached = false;
    return 0;
}

/* The monitor learns of its new child before anything else happens in it. */
static int tell_monitor(struct walk *w)
{
    CLEANUP_FD int self = sys_pidfd_open(getpid());
    if (self < 0)
        return step_errno(w, "a pidfd");
    int r = report_send_fd(w->report_fd, REPORT_BORN, self);
    return r < 0 ? step_fail(w, -r, "the monitor could not be told of the second process") : 0;
}

/* A procfs and a null device of the first process are the host's. */
static int begin_second(struct walk *w, uint64_t namespaces)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    w->entered |= namespaces | CLONE_NEWUSER;
    close_fd(&w->proc_fd);
    close_fd(&w->null_fd);
    close_fd(&w->empty_fd);
    int r = tell_monitor(w);
    return r < 0 ? r : attach_root(w);
}

/* userns: into the user namespace, and a new process there, born into namespaces that it owns.
 * Why:   the container's root is number 100000 or so on the host: nobody's. What it may do as root counts for things that
 *        its user namespace owns. What an escape gets is the rights of a number that owns nothing.
 * Order: behind all that takes rights over the host (overlay, tree, oom_score_adj, higher rlimits) and the join of the
 *        network; before all mounts that the namespaces' owner makes: proc, sysfs, devpts, mqueue. CLONE_PARENT makes the
 *        second a child of the monitor. It is no mapped user yet: the step `user 0 0` follows.
 * See:   user_namespaces(7), clone(2) CLONE_PARENT, CLONE_INTO_CGROUP.   Look: cat /proc/PID/uid_map; ps -o user,pid -p PID */
int step_userns(struct walk *w, const struct plan_step *s)
{
    const char *directory = s->field[2].text;
    CLEANUP_FD int cgroup = -1;
    struct clone_args args = {.flags = CLONE_PARENT};
    uint64_t namespaces = 0;
    int userns = -1;
    int r = parse_extra_fd(w, &s->field[0], &userns);
    if (r == 0)
        r = parse_namespaces(w, &s->field[1], &namespaces);
    if (r < 0)
        return r;
    if (directory[0] != '\0') {
        cgroup = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (cgroup < 0)
            return step_errno(w, directory);
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup;
    }
    r = fill_shelf(w);
    if (r < 0)
        return r;
    if (setns(userns, CLONE_NEWUSER) < 0)
        return step_errno(w, s->field[0].text);
    prctl(PR_SET_DUMPABLE, 0); /* other credentials may have made it dumpable (fs.suid_dumpable) */
    args.flags |= namespaces;
    pid_t pid = sys_clone3(&args);
    if (pid < 0)
        return step_fail(w, errno, "namespaces %s, cgroup %s", s->field[1].text, directory);
    if (pid > 0)
        _exit(EXIT_SUCCESS);
    return begin_second(w, namespaces);
}
