/* main.c: minidock-monitor, the process that stays with a container while daemons come and go.
 *
 * The daemon spawns it with everything open already: the control socket on fd 3, the plan on 4, its directory on 5, the
 * plan's own descriptors from 6 on. It is one fork away from the daemon, in a session of its own, and a child
 * of init: it shares no fate with the daemon. It is no program for people.
 *
 * Signals that end a program by default are ignored: a monitor lives exactly as long as its container, and who wants to
 * end that must kill the container. (SIGKILL remains; the daemon then kills the container by its cgroup.) An ignored
 * disposition survives execve(2), which is why plans have a `signals` step.
 *
 * Read next: monitor.c. */
#include "monitor.h"
#include "sys.h"
#include "util.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static bool given_a_socket(void)
{
    int listening = 0;
    socklen_t size = sizeof listening;

    return getsockopt(LISTEN_FD, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

/* How many descriptors came for the plan. What is open beyond a gap was leaked to us by whoever started the daemon. */
static unsigned count_plan_fds(void)
{
    unsigned next = FIRST_PLAN_FD;

    while (fcntl((int)next, F_GETFD) >= 0)
        next++;
    sys_close_range(next, ~0U, 0);
    sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    return next - FIRST_PLAN_FD;
}

static void ignore_signals(void)
{
    /* SIGPIPE: a container that closed its stdin. SIGXFSZ: a log at the limit of file sizes. Both come as errno too. */
    static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGXFSZ};

    for (unsigned i = 0; i < ARRAY_LENGTH(ignored); i++)
        signal(ignored[i], SIG_IGN);
}

int main(int argc, char **argv)
{
    static const char usage[] = "minidock-monitor: started by minidockd, one per container; not a command\n";
    static struct buffers buffers; /* static for its size; all else is passed a pointer */
    struct monitor monitor = {.buffers = &buffers};

    if (argc != 2 || !given_a_socket()) {
        write_all(STDERR_FILENO, usage, sizeof usage - 1);
        return 2;
    }
    pid_t pid = fork();
    if (pid != 0)
        _exit(pid < 0);
    prctl(PR_SET_NAME, argv[0]);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    ignore_signals();
    monitor.plan_fds = count_plan_fds();
    return monitor_live(&monitor);
}
