/* syscalls.c: calls every system call with bad arguments and prints what came back, as {"0": "EBADF", …}.
 *
 * The point is to tell who answered: a seccomp filter answers EPERM or ENOSYS before the kernel looks at anything. Where
 * the kernel itself would say the same (for lack of a capability, say), a run without a filter is the control.
 *
 * All arguments are -1, which no call accepts as a pointer, a descriptor or a flag word. Each call is made by a child of
 * its own, in a session of its own, killed after a second. Serves tests/root/test_seccomp_kernel.py. */
#include "probe.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct answer {
    int returned;
    long result;
    int error;
};

/* Calls that do not come back, or that would make the whole machine wait. */
static bool is_skipped(long number)
{
    return number == SYS_exit || number == SYS_exit_group || number == SYS_rt_sigreturn || number == SYS_sync
#ifdef SYS_pause
           || number == SYS_pause || number == SYS_vfork || number == SYS_fork
#endif
        ;
}

static void call_in_child(long number, struct answer *answer)
{
    setsid();
    answer->result = syscall(number, -1L, -1L, -1L, -1L, -1L, -1L);
    answer->error = errno;
    answer->returned = 1;
    _exit(0);
}

/* A SIGCHLD may be left over from an earlier child, so the child itself is asked again after each. */
static void wait_a_second(pid_t child, const sigset_t *sigchld)
{
    struct timespec second = {.tv_sec = 1};

    while (waitpid(child, NULL, WNOHANG) == 0) {
        if (sigtimedwait(sigchld, NULL, &second) < 0)
            kill(child, SIGKILL);
    }
}

static void one_call(long number, struct answer *answer, const sigset_t *sigchld)
{
    char key[24];

    snprintf(key, sizeof key, "%ld", number);
    json_key(key);
    if (is_skipped(number)) {
        json_text("skipped");
        return;
    }
    *answer = (struct answer){0};
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        call_in_child(number, answer);
    wait_a_second(child, sigchld);
    if (!answer->returned)
        json_text("killed");
    else
        json_errno(answer->result < 0 && answer->result >= -4095 ? answer->error : 0);
}

int verb_syscalls(int argc, char **argv)
{
    long last = argc > 0 ? atol(argv[0]) : 470;
    sigset_t sigchld;
    struct answer *answer = mmap(NULL, sizeof *answer, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (answer == MAP_FAILED)
        return 1;
    sigemptyset(&sigchld);
    sigaddset(&sigchld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &sigchld, NULL);
    json_open('{');
    for (long number = 0; number <= last; number++)
        one_call(number, answer, &sigchld);
    json_close('}');
    json_end();
    return 0;
}
