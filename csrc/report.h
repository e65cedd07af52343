/* report.h: how the child tells the monitor what it did: a shared page and a socket.
 *
 * The page holds one result a step, and the first failure with its text. The socket carries the pty
 * master (SCM_RIGHTS), and by its EOF the news that no more will come: it is close-on-exec.
 *
 * Serves walk.c and launch.c; steps only use report_send_fd(). Read next: report.c. */
#ifndef MINIDOCK_REPORT_H
#define MINIDOCK_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "launch.h"
#include "plan.h"

/* What is in here the child has written, and a container with CAP_SYS_PTRACE may have written into the child: it is read like
 * a stranger's message. How many results there are is known from the plan. */
struct shared_report {
    uint32_t failed_step;
    int32_t failed_errno; /* 0: nothing failed so far */
    uint64_t exec_began;  /* monotonic_ns() */
    char detail[DETAIL_SIZE];
    struct step_result results[];
};

/* A page shared with all children, every result STEP_NOT_REACHED; NULL without memory. */
struct shared_report *report_new(uint32_t nsteps);

void report_failure(struct shared_report *report, uint32_t step, int error);
void report_exec_begins(struct shared_report *report, uint32_t step, uint64_t now);

/* Makes the pair; both ends close-on-exec. 0 or -errno. */
int report_socket(int *monitor_end, int *child_end);

/* What an fd that is sent is: a terminal's master, or the pidfd of a process that goes on in the child's place. */
enum report_kind { REPORT_MASTER = 'm', REPORT_BORN = 'b' };
int report_send_fd(int child_end, enum report_kind kind, int fd);

/* Waits for EOF, and takes what comes (close-on-exec; the master non-blocking). False: one step took longer than
 * STEP_LIMIT, and how much longer it would take nobody knows. */
bool report_wait(int monitor_end, const struct shared_report *report, const struct plan *plan, int *master, int *born);

/* That step is the failure, with ETIMEDOUT and what it was about. Call it when the child can write no more. */
void report_stuck(struct shared_report *report, const struct plan *plan);

/* After EOF: was execve reached, and did nothing fail? */
bool report_started(struct shared_report *report, const struct plan *plan);

/* After a failure, with the reaped child's wait status: fills in a failure that the child could not tell itself. What is
 * there then is in bounds. */
void report_conclude(struct shared_report *report, const struct plan *plan, int status);

#endif
