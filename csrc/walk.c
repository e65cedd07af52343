/* walk.c: carries a plan out. The heart of a container start is walk_steps(), a loop of a dozen lines.
 *
 *     monitor                                   child
 *     steps before clone3 (cgroup, log, …)
 *     clone3 ───────────────────────────────▶  its stdio onto fds 0 to 2
 *     waits on the report socket                steps after clone3, in order
 *            ◀── the pty master, if any ──────  console or tty
 *            ◀── EOF ─────────────────────────  execve (the socket is close-on-exec), or death
 *     reads the shared page: which one, and each step's errno and time
 *
 * Results go through a page shared by both, because writing memory needs no system call: a step can
 * report even when a seccomp filter or the lost capabilities would forbid write(2).
 *
 * Read next: launch.c (who starts the walk), report.c (the page and the socket), steps.def. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "report.h"
#include "step.h"
#include "sys.h"

#define CHILD_REPORT_FD 3 /* not one of the plan's; the monitor's socket has it before */

/* Time is taken around each step, since "which step is slow" is the first question about a slow start. */
int walk_steps(struct walk *w, uint32_t from, uint32_t to)
{
    struct shared_report *report = w->launch->report;
    for (uint32_t i = from; i < to; i++) {
        const struct plan_step *s = &w->plan->steps[i];
        uint64_t began = monotonic_ns();
        if (s->kind->run == step_execve)
            report_exec_begins(report, i, began); /* on success there is no "after" */
        int r = s->kind->run(w, s);
        report->results[i] = (struct step_result){(uint32_t)-r, (uint32_t)((monotonic_ns() - began) / 1000)};
        if (r < 0) {
            report_failure(report, i, -r);
            return -1;
        }
    }
    return 0;
}

/* Puts the container's ends of the pipes on fds 0 to 2; dup2 leaves the copies without close-on-exec. */
static int install_stdio(struct walk *w)
{
    for (int fd = 0; fd < 3; fd++) {
        CLEANUP_FD int null = -1;
        int from = w->child_stdio[fd];
        if (from < 0)
            from = null = open("/dev/null", (fd == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
        if (from < 0 || dup2(from, fd) < 0)
            return step_errno(w, "stdio");
    }
    return 0;
}

/* Closes what the child was born with and has no use for: the monitor's sockets, its directory, its log.
 * Why:   close-on-exec is not enough. Who joins a container is seen in there before it gets to execve, and a container with
 *        CAP_SYS_PTRACE may look into its fds, dumpable or not: a directory of the host among them is the host
 *        (CVE-2016-9962).
 * Order: before the child has done anything else. The report's socket goes out of the way, to a number of its own. */
static int drop_monitors_fds(struct walk *w)
{
    unsigned behind = FIRST_EXTRA_FD + w->launch->extra_fds;
    if (dup3(w->report_fd, CHILD_REPORT_FD, O_CLOEXEC) < 0)
        return step_errno(w, "the report's socket");
    w->report_fd = CHILD_REPORT_FD;
    if (sys_close_range(CHILD_REPORT_FD + 1, FIRST_EXTRA_FD - 1, 0) < 0 || sys_close_range(behind, ~0U, 0) < 0)
        return step_errno(w, "close_range");
    return 0;
}

/* The child from clone3 to execve. Dies with its monitor: a half-made container serves nobody. */
static _Noreturn void run_child(struct walk *w)
{
    uint32_t split = w->plan->split;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    umask(0); /* modes in the plan are exact; the `signals` step sets the container's umask */
    int r = install_stdio(w);
    if (r == 0)
        r = drop_monitors_fds(w);
    if (r < 0)
        report_failure(w->launch->report, split, -r);
    else
        walk_steps(w, split + 1, w->plan->nsteps);
    _exit(EXIT_FAILURE);
}

/* clone3(2): a new process, born in its namespaces and in its cgroup.
 * Why:   one call instead of fork, unshare and a write to cgroup.procs: the child never runs a moment outside
 *        its cgroup, so it can't escape the limits, and the pidfd names it past any reuse of its pid.
 * Order: behind all that the monitor must own (cgroup, log, pipes); everything below it is done by the child,
 *        inside. Without CLONE_VM: the child must not write into the memory of the monitor that watches it.
 * See:   clone3 in clone(2), namespaces(7), cgroups(7).   Look: ls -l /proc/PID/ns; cat /proc/PID/cgroup */
int step_clone3(struct walk *w, const struct plan_step *s)
{
    CLEANUP_FD int cgroup = -1;
    uint64_t namespaces = 0;
    int pidfd = -1;
    int r = parse_namespaces(w, &s->field[0], &namespaces);
    if (r < 0)
        return r;
    struct clone_args args = {
        .flags = CLONE_PIDFD | namespaces,
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
    };
    if (s->field[1].size > 0) {
        cgroup = open(s->field[1].text, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (cgroup < 0)
            return step_errno(w, s->field[1].text);
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup;
    }
    w->entered |= namespaces;
    pid_t pid = sys_clone3(&args);
    if (pid == 0)
        run_child(w);
    if (pid < 0)
        return step_fail(w, errno, "namespaces %s, cgroup %s", s->field[0].text, s->field[1].text);
    w->launch->pid = pid;
    w->launch->pidfd = pidfd; /* the kernel gives it close-on-exec */
    return 0;
}
