/* steps_init.c: `--init`: a small pid 1 in front of the program, in the manner of tini.
 *
 * Pid 1 of a pid namespace has two duties that ordinary programs don't do: to reap orphans (else they stay as
 * zombies), and to react to signals although the kernel ignores those for which it has no handler. The `init` step forks:
 * the parent becomes that pid 1, the child goes on with the plan.
 *
 *     pid 1  reaper: waits, forwards, exits with the program's code    (this file)
 *     pid 2  the rest of the plan, then execve
 *
 * Unlike tini it is not a binary in the container: it is the monitor's own code, from the sealed memfd. It never runs
 * anything else, so it keeps nothing: no fd, no capability but CAP_KILL, not dumpable.
 *
 * Read next: steps_exec.c; tini's README for the why. */
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "step.h"
#include "sys.h"

/* Signals that mean "this process made a mistake": blocking them would only hide it. */
static const int own_faults[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS};

static void block_forwarded(sigset_t *set, sigset_t *before)
{
    sigfillset(set);
    for (size_t i = 0; i < ARRAY_LENGTH(own_faults); i++)
        sigdelset(set, own_faults[i]);
    sigprocmask(SIG_BLOCK, set, before);
}

/* Reaps all that has ended (or, without WNOHANG, will end). Exits when it was the program itself: that ends the
 * pid namespace, and the kernel kills whoever is left in it. */
static void reap(pid_t child, int options)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, options)) > 0;) {
        if (pid == child)
            _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    }
}

/* CAP_KILL stays where the plan leaves it: a setuid program runs as another user than pid 1. */
static void drop_everything(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    syscall(SYS_capget, &header, sets);
    sets[0].permitted &= 1U << CAP_KILL;
    sets[0].effective = sets[0].permitted;
    sets[0].inheritable = sets[1].inheritable = sets[1].permitted = sets[1].effective = 0;
    syscall(SYS_capset, &header, sets);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0);
    sys_close_range(0, ~0U, 0);
}

/* What ps shows inside. argv[0] lies in the memory that /proc/1/cmdline shows; it can only get shorter. */
static void take_name(void)
{
    static const char name[] = "minidock-init";
    prctl(PR_SET_NAME, name);
    if (strlen(program_invocation_name) >= sizeof(name) - 1) {
        memset(program_invocation_name, 0, strlen(program_invocation_name));
        memcpy(program_invocation_name, name, sizeof(name));
    }
}

_Noreturn void reaper_run(pid_t child)
{
    sigset_t set;
    block_forwarded(&set, NULL);
    take_name();
    drop_everything();
    for (;;) {
        siginfo_t info;
        int sig = sigwaitinfo(&set, &info);
        if (sig == SIGCHLD) {
            reap(child, WNOHANG);
        } else if (sig > 0 && sig != SIGTTIN && sig != SIGTTOU) { /* those two are the terminal's to us alone */
            kill(child, sig);
        } else if (sig < 0 && errno != EINTR) { /* a seccomp profile without this call: reaping is what is left */
            reap(child, 0);
            _exit(EXIT_FAILURE);
        }
    }
}

/* The program leads its own process group and has the terminal, as a shell would set it up: Ctrl-C goes to it and
 * not to pid 1, which would forward it a second time. */
static int lead_group(struct walk *w)
{
    if (setpgid(0, 0) < 0)
        return step_errno(w, "setpgid");
    if (tcgetpgrp(STDIN_FILENO) >= 0 && tcsetpgrp(STDIN_FILENO, getpid()) < 0)
        return step_errno(w, "tcsetpgrp");
    return 0;
}

/* init: pid 1 stays behind as a reaper; the plan goes on in its child.
 * Why:   shells and most programs neither reap orphans nor handle SIGTERM as pid 1: `stop` would wait its ten
 *        seconds each time, and zombies would eat the pid limit.
 * Order: behind `console` (the session's leader takes the terminal) and behind the identity steps, so that pid 1 is not
 *        more than the program is; right before `execve`.
 *        Signals are blocked across the fork, so that none falls between the two.
 * See:   pid_namespaces(7) "The namespace init process", sigwaitinfo(2).   Look: ps -o pid,ppid,comm inside */
int step_init(struct walk *w, const struct plan_step *s)
{
    (void)s;
    sigset_t set, before;
    struct rlimit files;
    if (w->apparmor != NULL && getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur == 0)
        return step_fail(w, EINVAL, "pid 1 takes its AppArmor profile by a file, and a nofile of 0 leaves it none");
    block_forwarded(&set, &before);
    pid_t child = fork();
    if (child < 0)
        return step_errno(w, "fork");
    if (child > 0) {
        confine_now(w);
        reaper_run(child);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* fork clears it */
    int r = lead_group(w);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}
