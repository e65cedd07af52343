/* steps_namespace.c: which view of the kernel the process has: joining namespaces, names, mounts made private.
 *
 * A namespace is made by `clone3` (walk.c) and joined by `setns`: the network's, made ahead of need by
 * the daemon, and all of a running container's in the plan of an exec.
 *
 * Serves: the first steps of the child. Read next: namespaces(7), steps_root.c. */
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "step.h"
#include "sys.h"

static const struct namespace_name {
    const char *name;
    uint64_t flag;
} namespaces[] = {
    {"mnt", CLONE_NEWNS},  {"pid", CLONE_NEWPID},       {"uts", CLONE_NEWUTS},   {"ipc", CLONE_NEWIPC},
    {"net", CLONE_NEWNET}, {"cgroup", CLONE_NEWCGROUP}, {"user", CLONE_NEWUSER}, {"time", CLONE_NEWTIME},
};

static uint64_t namespace_flag(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(namespaces); i++) {
        if (strcmp(namespaces[i].name, name) == 0)
            return namespaces[i].flag;
    }
    return 0;
}

int parse_namespaces(struct walk *w, const struct plan_field *f, uint64_t *flags)
{
    const char *rest = f->text;
    char name[16];
    int r;
    *flags = 0;
    while ((r = next_item(&rest, name, sizeof(name))) > 0) {
        uint64_t flag = namespace_flag(name);
        if (flag == 0)
            return step_fail(w, EINVAL, "unknown namespace: %s", name);
        *flags |= flag;
    }
    return r == 0 ? 0 : step_fail(w, EINVAL, "malformed list of namespaces: %s", f->text);
}

int parse_extra_fd(struct walk *w, const struct plan_field *f, int *fd)
{
    uint64_t number;
    if (strncmp(f->text, "fd:", 3) != 0 || parse_number(f->text + 3, 1024, &number) < 0)
        return step_fail(w, EINVAL, "not of the form fd:N: %s", f->text);
    *fd = FIRST_EXTRA_FD + (int)number;
    return 0;
}

/* What was found in the old mount namespace is not what is meant in the new one. */
static int forget_mounts(struct walk *w)
{
    close_fd(&w->root_fd);
    close_fd(&w->proc_fd);
    close_fd(&w->null_fd);
    close_fd(&w->empty_fd);
    w->pivoted = true;
    return adopt_null(w);
}

/* setns(2): join namespaces that exist already.
 * Why:   the network's was made ahead of need (a veth takes milliseconds); an exec joins all of a container's.
 *        With a pidfd one call joins them all at once, and can't hit a recycled pid.
 * Order: `pid` before clone3, because it only counts for children; `mnt` behind all that needs host paths, `user` behind
 *        all that needs rights on the host. The process is non-dumpable before it becomes visible inside (CVE-2016-9962).
 * See:   setns(2), pid_namespaces(7).   Look: ls -l /proc/PID/ns */
int step_setns(struct walk *w, const struct plan_step *s)
{
    uint64_t flags = 0;
    int fd = -1;
    int r = parse_extra_fd(w, &s->field[0], &fd);
    if (r == 0)
        r = parse_namespaces(w, &s->field[1], &flags);
    if (r < 0)
        return r;
    if (flags == 0)
        return step_fail(w, EINVAL, "no namespace to join");
    if (setns(fd, (int)flags) < 0)
        return step_fail(w, errno, "%s %s", s->field[0].text, s->field[1].text);
    if (flags & CLONE_NEWUSER)
        prctl(PR_SET_DUMPABLE, 0); /* other credentials may have made it dumpable (fs.suid_dumpable) */
    w->entered |= flags;
    return (flags & CLONE_NEWNS) ? forget_mounts(w) : 0;
}

/* unshare(2): a new namespace for the process that is already there.
 * Why:   a cgroup namespace shows the cgroup that its maker is in as "/". clone3 with CLONE_INTO_CGROUP makes the namespace
 *        first and moves the child afterwards, so the root would be the monitor's cgroup, with all neighbours in sight.
 * Order: behind clone3, before the mount of cgroup2, which shows this namespace. Namespaces that clone3 must make are
 *        refused: an unshared pid namespace is only for children, and mounts and users have to be there from birth.
 * See:   unshare(2), cgroup_namespaces(7).   Look: cat /proc/self/cgroup inside: 0::/ */
int step_unshare(struct walk *w, const struct plan_step *s)
{
    uint64_t flags = 0;
    int r = parse_namespaces(w, &s->field[0], &flags);
    if (r < 0)
        return r;
    if (flags == 0 || (flags & (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER)))
        return step_fail(w, EINVAL, "not a namespace that can be unshared: %s", s->field[0].text);
    w->entered |= flags;
    return unshare((int)flags) < 0 ? step_errno(w, s->field[0].text) : 0;
}

/* setsid(2): a session of its own.
 * Why:   only a session leader can take a controlling terminal, and a signal to the daemon's or the monitor's
 *        process group (Ctrl-C in a foreground minidockd) must not reach the container.
 * Order: before `console` or `tty`.
 * See:   setsid(2), credentials(7).   Look: ps -o pid,sid,tty -p PID */
int step_session(struct walk *w, const struct plan_step *s)
{
    (void)s;
    return setsid() < 0 ? step_errno(w, "setsid") : 0;
}

/* private: mounts and unmounts below no longer reach the host.
 * Why:   systemd makes "/" shared; a new mount namespace then is a peer of the host's, and every mount of the
 *        container would show up there, and pivot_root's unmount would take the host's mounts away.
 *        "slave" in place of the default lets mounts of the host still come in (for bind propagation).
 * Order: first in the new mount namespace. Steps that mount refuse to run before it.
 * See:   mount_namespaces(7) "SHARED SUBTREES".   Look: grep -c 'shared:' /proc/PID/mountinfo */
int step_private(struct walk *w, const struct plan_step *s)
{
    unsigned long propagation = MS_PRIVATE;
    if (!(w->entered & CLONE_NEWNS))
        return step_fail(w, EINVAL, "this is the host's mount namespace");
    if (s->nfields == 1 && strcmp(s->field[0].text, "slave") == 0)
        propagation = MS_SLAVE;
    else if (s->nfields == 1 && strcmp(s->field[0].text, "private") != 0)
        return step_fail(w, EINVAL, "unknown propagation: %s", s->field[0].text);
    if (mount(NULL, "/", NULL, MS_REC | propagation, NULL) < 0)
        return step_errno(w, "/");
    w->is_private = true;
    return 0;
}

/* sethostname(2): the name in the UTS namespace.
 * Why:   the container's short id or --hostname; programs put it into prompts, logs and cluster membership.
 * Order: any time after clone3; in the host's own UTS namespace the plan has no such step.
 * See:   uts_namespaces(7).   Look: nsenter -t PID -u hostname */
int step_hostname(struct walk *w, const struct plan_step *s)
{
    if (!(w->entered & CLONE_NEWUTS))
        return step_fail(w, EINVAL, "this is the host's UTS namespace");
    return sethostname(s->field[0].text, s->field[0].size) < 0 ? step_errno(w, s->field[0].text) : 0;
}

/* setdomainname(2): the NIS domain, the other half of the UTS namespace.
 * Why:   --domainname; getdomainname(2) and uname(2) show it.
 * Order: as hostname.
 * See:   uts_namespaces(7).   Look: nsenter -t PID -u domainname */
int step_domainname(struct walk *w, const struct plan_step *s)
{
    if (!(w->entered & CLONE_NEWUTS))
        return step_fail(w, EINVAL, "this is the host's UTS namespace");
    return setdomainname(s->field[0].text, s->field[0].size) < 0 ? step_errno(w, s->field[0].text) : 0;
}
