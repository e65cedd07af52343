/* report.c: see report.h. The page outlives every crash of the child, the socket's EOF can't be forged.
 *
 * Why not a pipe with messages, as runc's sync protocol: once seccomp and the capabilities are in place
 * the child may be unable to write(2), and a half-written message is a state more to handle. A store
 * to shared memory always works, and "what was reached" needs no message at all.
 *
 * Why the socket is SOCK_SEQPACKET: one record is one fd, and EOF comes when the last copy is closed: by
 * execve, by _exit, or by a SIGKILL at any point. Nothing here has to time out.
 *
 * Read next: walk.c. */
#include "report.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "util.h"

#ifndef STEP_LIMIT
#define STEP_LIMIT 20000 /* milliseconds; the tests build a monitor with a shorter one */
#endif

/* MAP_SHARED: after clone3 parent and child see the same memory (everything else is a copy). Anonymous: there is no
 * file that anybody else could map. */
struct shared_report *report_new(uint32_t nsteps)
{
    size_t size = sizeof(struct shared_report) + nsteps * sizeof(struct step_result);
    struct shared_report *report = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED)
        return NULL;
    for (uint32_t i = 0; i < nsteps; i++)
        report->results[i].error = STEP_NOT_REACHED;
    return report;
}

/* Of two failures the first is the cause; a step ends the walk when it fails, so there is never a second. */
void report_failure(struct shared_report *report, uint32_t step, int error)
{
    report->failed_step = step;
    report->failed_errno = error;
    report->results[step].error = (uint32_t)error;
}

/* A successful execve leaves nobody to report it: it counts as done from here unless it returns. */
void report_exec_begins(struct shared_report *report, uint32_t step, uint64_t now)
{
    report->exec_began = now;
    report->results[step].error = 0;
}

/* SOCK_CLOEXEC is the whole protocol: execve(2) closes the child's end, and only a successful one does. */
int report_socket(int *monitor_end, int *child_end)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    *monitor_end = pair[0];
    *child_end = pair[1];
    return 0;
}

union fd_message {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(sizeof(int))];
};

/* SCM_RIGHTS: the kernel puts a copy of the fd into the receiver's table. At least one byte must go with it.
 * See: unix(7), cmsg(3). */
int report_send_fd(int child_end, enum report_kind kind, int fd)
{
    char byte = (char)kind;
    union fd_message control = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    return sendmsg(child_end, &message, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/* A second one would replace the first; a plan has one terminal and one `userns` at most. */
static void take_fd(struct msghdr *message, int *place)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
        return;
    close_fd(place);
    memcpy(place, CMSG_DATA(c), sizeof(*place));
}

/* The first step that has not been done; execve counts as done while it lasts. */
static uint32_t steps_done(const struct shared_report *report, const struct plan *plan, uint32_t from)
{
    while (from < plan->nsteps && report->results[from].error == 0)
        from++;
    return from;
}

/* Waits until there is something to read. False when a whole STEP_LIMIT has passed without a step being done: a mount
 * whose server does not answer can keep a process for ever, and a signal ends that (not always, see end_child). */
static bool report_ready(int monitor_end, const struct shared_report *report, const struct plan *plan, uint32_t *done)
{
    struct pollfd ready = {.fd = monitor_end, .events = POLLIN};

    for (;;) {
        int n = poll(&ready, 1, STEP_LIMIT);
        uint32_t now = steps_done(report, plan, *done);
        if (n > 0 || (n < 0 && errno != EINTR))
            return true;
        if (n == 0 && now == *done)
            return false;
        *done = now;
    }
}

/* EOF needs all copies of the child's end closed: ours (launch_run), the reaper's (it closes everything), the
 * program's (close-on-exec). An error ends the wait as well: the page then tells how far the child came. */
bool report_wait(int monitor_end, const struct shared_report *report, const struct plan *plan, int *master, int *born)
{
    uint32_t done = 0;

    while (report_ready(monitor_end, report, plan, &done)) {
        char kind;
        union fd_message control;
        struct iovec data = {&kind, 1};
        struct msghdr message = {
            .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
        ssize_t n = recvmsg(monitor_end, &message, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return true;
        take_fd(&message, kind == REPORT_BORN ? born : master);
        if (kind == REPORT_MASTER && *master >= 0)
            set_nonblocking(*master);
    }
    return false;
}

void report_stuck(struct shared_report *report, const struct plan *plan)
{
    uint32_t step = steps_done(report, plan, 0);

    if (step >= plan->nsteps)
        step = plan->nsteps - 1; /* execve */
    const struct plan_step *s = &plan->steps[step];
    const char *about = "";
    for (uint32_t i = 0; i < s->nfields && about[0] == '\0'; i++)
        if (s->field[i].text[0] == '/')
            about = s->field[i].text;
    report_failure(report, step, ETIMEDOUT);
    snprintf(report->detail, DETAIL_SIZE, "%s", about);
}

/* report_exec_begins() marked execve as done; had it returned, a failure would stand there by now. The time of an
 * execve can only be taken from outside. */
bool report_started(struct shared_report *report, const struct plan *plan)
{
    struct step_result *last = &report->results[plan->nsteps - 1];
    if (report->failed_errno != 0 || last->error != 0)
        return false;
    last->usec = (uint32_t)((monotonic_ns() - report->exec_began) / 1000);
    return true;
}

/* The child vanished without a word: killed from outside, or by a seccomp filter that kills. */
static void blame_death(struct shared_report *report, const struct plan *plan, int status)
{
    uint32_t step = plan->split + 1;
    while (step + 1 < plan->nsteps && report->results[step].error == 0)
        step++;
    report_failure(report, step, EIO);
    if (WIFSIGNALED(status))
        snprintf(report->detail, DETAIL_SIZE, "the process was killed by signal %d before this step ended",
                 WTERMSIG(status));
    else
        snprintf(report->detail, DETAIL_SIZE, "the process ended with status %d before this step ended",
                 WEXITSTATUS(status));
}

void report_conclude(struct shared_report *report, const struct plan *plan, int status)
{
    if (report->failed_errno == 0)
        blame_death(report, plan, status);
    if (report->failed_step >= plan->nsteps)
        report->failed_step = plan->split;
    report->results[report->failed_step].error = (uint32_t)report->failed_errno;
}
