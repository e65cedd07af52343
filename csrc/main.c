/* main.c: minidock-monitor, the process that stays with a container while daemons come and go.
 *
 * The daemon spawns it with everything open already: the control socket on fd 3, the plan on 4, its directory on 5, the
 * plan's own descriptors from 6 on, and behind a gap the program. It is one fork away from the daemon, in a session and a
 * cgroup of its own, and a child of init: it shares no fate with the daemon. It is no program for people.
 *
 * The signals by which terminals, shutdowns and people ask programs to end are ignored: a monitor lives exactly as long as
 * its container, and who wants to end that must kill the container. (With the monitor, by SIGKILL say, its container
 * goes: PR_SET_PDEATHSIG.) An ignored disposition survives execve(2), which is why plans have a `signals` step.
 *
 * Read next: monitor.c. */
#include "monitor.h"
#include "sys.h"
#include "util.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
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

/* A copy of ourselves that init will own, born in the cgroup that the daemon names.
 * Why:   "systemctl stop" kills what is in the service's cgroup; a monitor there would die with the daemon. Not in the
 *        container's cgroup either: cgroup.kill would take it along, and its memory would count as the container's.
 *        Born there, because moving a process by cgroup.procs waits for every processor of the machine (10 ms).
 * See:   clone3 in clone(2), cgroups(7), systemd.kill(5) KillMode.   Look: cat /proc/MONITOR/cgroup */
static pid_t fork_into(const char *cgroup)
{
    CLEANUP_FD int fd = cgroup == NULL ? -1 : open(cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct clone_args args = {.exit_signal = SIGCHLD};

    if (cgroup != NULL && fd < 0)
        return -1;
    if (cgroup != NULL) {
        args.flags = CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)fd;
    }
    return sys_clone3(&args);
}

/* minidock-monitor ID [CGROUP] */
int main(int argc, char **argv)
{
    static const char usage[] = "minidock-monitor: started by minidockd, one per container; not a command\n";
    static struct buffers buffers; /* static for its size; all else is passed a pointer */
    struct monitor monitor = {.buffers = &buffers};

    if (argc < 2 || argc > 3 || !given_a_socket()) {
        write_all(STDERR_FILENO, usage, sizeof usage - 1);
        return 2;
    }
    pid_t pid = fork_into(argv[2]);
    if (pid != 0)
        _exit(pid < 0);
    if (chdir("/") != 0) /* the daemon's may be on a file system that somebody wants to unmount */
        return 1;
    if (argc == 3)
        memset(argv[2], 0, strlen(argv[2])); /* the reaper's command line, which the container can read, is this one */
    prctl(PR_SET_NAME, argv[0]);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    ignore_signals();
    monitor.plan_fds = count_plan_fds();
    return monitor_live(&monitor);
}
