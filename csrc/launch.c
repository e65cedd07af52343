/* launch.c: from a plan's fd to a running container, as the monitor sees it.
 *
 * launch_open() maps the sealed memfd and has it checked; launch_run() walks. Between the two the monitor
 * waits for START, so a plan that is refused costs nothing and leaves nothing.
 *
 * A start that fails must leave nothing running: give_up() kills by pidfd, which can't hit a stranger
 * that got the same pid, and reaps, so that the namespaces and their mounts are gone when -1 is returned.
 *
 * Read next: launch.h (the contract), walk.c (the walk itself), report.c. */
#include "launch.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "report.h"
#include "step.h"
#include "sys.h"

#define KILL_LIMIT 2000 /* milliseconds for a child to die of SIGKILL */

/* Before there is a shared page: the reason goes straight into the struct. */
static int refuse(struct launch *l, uint32_t step, int error, const char *reason)
{
    l->failed_step = step;
    l->failed_errno = error;
    strncpy(l->detail, reason, DETAIL_SIZE - 1);
    return -1;
}

/* Maps the plan. A memfd that could still shrink would turn a read into SIGBUS, and one that could
 * still be written might be changed between the check and the use: hence the seals. Private, because before Linux 6.7 what
 * is sealed against writing can't be mapped shared, not even to be read (EPERM). See: fcntl(2) F_SEAL_WRITE. */
static int map_plan(int plan_fd, struct launch *l, const char **bytes, size_t *size)
{
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat st;
    int have = fcntl(plan_fd, F_GET_SEALS);
    if (have < 0 || (have & seals) != seals)
        return refuse(l, 0, EINVAL, "the plan is not a sealed memfd");
    if (fstat(plan_fd, &st) < 0 || st.st_size == 0 || st.st_size > PLAN_MAX_SIZE)
        return refuse(l, 0, EINVAL, "the plan is empty or larger than 16 MiB");
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, plan_fd, 0);
    if (map == MAP_FAILED)
        return refuse(l, 0, errno, "mmap of the plan");
    *bytes = map;
    *size = (size_t)st.st_size;
    return 0;
}

/* The plan is of no use after the start; a monitor lives as long as its container and should be small. */
static void drop_plan(struct launch *l)
{
    munmap((void *)(uintptr_t)l->plan->bytes, l->plan->size);
    plan_free(l->plan);
    free(l->plan);
    l->plan = NULL;
}

/* Every fd starts as -1, so that closing what was never opened does nothing. */
int launch_open(int plan_fd, unsigned extra_fds, struct launch *l)
{
    const char *bytes;
    size_t size;
    struct plan_error error;
    *l = (struct launch){.log_fd = -1, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .master_fd = -1, .pidfd = -1};
    l->extra_fds = extra_fds;
    if (map_plan(plan_fd, l, &bytes, &size) < 0)
        return -1;
    l->plan = calloc(1, sizeof(*l->plan));
    if (l->plan == NULL || plan_parse(l->plan, bytes, size, &error) < 0) {
        munmap((void *)(uintptr_t)bytes, size);
        if (l->plan == NULL)
            return refuse(l, 0, ENOMEM, "no memory for the plan");
        free(l->plan);
        l->plan = NULL;
        return refuse(l, error.step, EINVAL, error.reason);
    }
    l->report = report_new(l->plan->nsteps);
    if (l->report == NULL) {
        drop_plan(l);
        return refuse(l, 0, ENOMEM, "no memory for the results");
    }
    l->nsteps = l->plan->nsteps;
    l->results = l->report->results;
    return 0;
}

static void reap_child(struct launch *l, int *status)
{
    while (waitpid(l->pid, status, __WALL) < 0 && errno == EINTR)
        continue;
    l->pid = 0;
    close_fd(&l->pidfd);
}

/* Kills and reaps what is left of a start that failed. Returns its wait status, 0 if there was no child. */
static int end_child(struct launch *l)
{
    int status = 0;
    if (l->pid > 0) {
        struct pollfd dead = {.fd = l->pidfd, .events = POLLIN};
        sys_pidfd_send_signal(l->pidfd, SIGKILL);
        /* Within the kernel some waits can't be interrupted; such a process is init's when we end, and dies one day. */
        while (poll(&dead, 1, KILL_LIMIT) < 0 && errno == EINTR)
            continue;
        if (dead.revents != 0)
            reap_child(l, &status);
    }
    l->pid = 0;
    close_fd(&l->pidfd);
    return status;
}

/* The way out of a start that failed, wherever it did. The child first: while it lives, it may still write into
 * the page. Then the words, then the fds that nobody will read any more. */
static int give_up(struct launch *l, bool stuck)
{
    int status = end_child(l);
    if (stuck)
        report_stuck(l->report, l->plan);
    report_conclude(l->report, l->plan, status);
    l->failed_step = l->report->failed_step;
    l->failed_errno = l->report->failed_errno;
    memcpy(l->detail, l->report->detail, DETAIL_SIZE);
    l->detail[DETAIL_SIZE - 1] = '\0';
    close_fd(&l->stdin_fd);
    close_fd(&l->stdout_fd);
    close_fd(&l->stderr_fd);
    close_fd(&l->master_fd);
    return -1;
}

/* The number behind a pidfd, as we would call it: it was born where numbers are others. 0 if it is gone. */
static pid_t number_of(int pidfd)
{
    char path[64], text[512];
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    const char *line = strstr(text, "Pid:");
    long number = line == NULL ? 0 : strtol(line + strlen("Pid:"), NULL, 10);
    return number > 0 ? (pid_t)number : 0;
}

/* The child of a `userns` step goes on in another process, which is ours as well (CLONE_PARENT). The first has ended, or
 * is about to. The second stays a zombie until we reap it, so its number is good even if it has been killed. */
static void adopt(struct launch *l, int *born)
{
    if (*born < 0)
        return;
    reap_child(l, NULL);
    l->pidfd = steal_fd(born);
    l->pid = number_of(l->pidfd);
}

/* fds 0 to 2 must be taken, or a pipe end could land there and be lost under the child's dup2. */
static void fill_standard_fds(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd < 3)
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    close_fd(&fd);
}

/* Our copies of the child's ends are closed as soon as the child has its own: a pipe gives EOF only when the last
 * writer is gone, and we are not to be that writer. */
int launch_run(struct launch *l)
{
    CLEANUP_FD int from_child = -1, born = -1;
    struct walk w = {
        .launch = l,
        .plan = l->plan,
        .detail = l->report->detail,
        .child_stdio = {-1, -1, -1},
        .report_fd = -1,
        .root_fd = -1,
        .shelf_fd = -1,
        .proc_fd = -1,
        .null_fd = -1,
        .empty_fd = -1,
    };
    prctl(PR_SET_DUMPABLE, 0); /* CVE-2016-9962: nobody traces a half-made container; execve resets it */
    fill_standard_fds();
    sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    bool stuck = false;
    int r = report_socket(&from_child, &w.report_fd);
    if (r < 0)
        report_failure(l->report, 0, -r);
    else
        r = walk_steps(&w, 0, l->plan->split + 1);
    for (int i = 0; i < 3; i++)
        close_fd(&w.child_stdio[i]);
    close_fd(&w.report_fd);
    if (r == 0) {
        stuck = !report_wait(from_child, l->report, l->plan, &l->master_fd, &born);
        adopt(l, &born);
        r = !stuck && report_started(l->report, l->plan) ? 0 : -1;
    }
    if (r < 0)
        give_up(l, stuck);
    drop_plan(l);
    return r;
}
