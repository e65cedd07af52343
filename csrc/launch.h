/* launch.h: the seam between the plan walker and the monitor.
 *
 * The walker (plan.c, walk.c, steps_*.c) turns a plan into a running container; the monitor (monitor.c
 * and its parts) holds what came of it: stdio, log, exit. The walker never writes to the control
 * socket and the monitor never looks into the plan: all that passes between them is `struct launch`.
 *
 * Life cycle: launch_open() maps and validates the plan, nothing is begun; launch_run() carries it
 * out, and returns when execve(2) happened or when a step failed and nothing is left running.
 * Ownership: after a successful launch_run() every fd in the struct belongs to the monitor.
 *
 * Read next: plan.h (the wire form), walk.c (the walk), step.h (what a step function is given). */
#ifndef MINIDOCK_LAUNCH_H
#define MINIDOCK_LAUNCH_H

#include <stdint.h>
#include <sys/types.h>

/* The first of the extra fds that md_spawn() was given; "fd:0" in a plan means this one. */
#define FIRST_EXTRA_FD 6

#define STEP_NOT_REACHED 0xffffffffU
#define DETAIL_SIZE      256

enum stdio_mode { STDIO_PIPE, STDIO_PTY };
enum stdin_mode { STDIN_NONE, STDIN_OPEN, STDIN_ONCE };

/* What came of one step; the same layout goes over the control socket. */
struct step_result {
    uint32_t error; /* 0 done, an errno, or STEP_NOT_REACHED */
    uint32_t usec;  /* how long it took */
};

struct plan;
struct shared_report;

struct launch {
    /* What the plan's monitor-side steps asked for. */
    const char *log_path;            /* NULL: no log is kept */
    unsigned long long log_max_size; /* bytes; 0: unlimited */
    unsigned log_max_files;
    int log_fd; /* opened O_APPEND, CLOEXEC; -1: no log */
    enum stdio_mode stdio_mode;
    enum stdin_mode stdin_mode;
    unsigned short rows, cols;

    /* The monitor's ends: CLOEXEC and non-blocking, -1 where there is none.
     * Pipe mode: stdin_fd (unless STDIN_NONE), stdout_fd, stderr_fd.  Pty mode: master_fd alone. */
    int stdin_fd, stdout_fd, stderr_fd, master_fd;

    /* The container's first process (its init, or the reaper of an `init` step). */
    pid_t pid; /* 0 when nothing runs */
    int pidfd; /* CLOEXEC, -1 when nothing runs */

    /* Filled as the walk goes; nsteps 0 and results NULL when the plan could not be read at all. */
    uint32_t nsteps;
    const struct step_result *results;

    /* Set when launch_open() or launch_run() returned -1. */
    uint32_t failed_step;
    int failed_errno;
    char detail[DETAIL_SIZE]; /* the path or argument concerned, and a reason where errno says too little */

    unsigned extra_fds;
    struct plan *plan; /* the walker's own */
    struct shared_report *report;
};

/* Maps the plan behind plan_fd (a sealed memfd) and validates all of it; plan_fd stays the caller's. `extra_fds`: how many
 * came along for the plan, from FIRST_EXTRA_FD on. Of all that is open the child keeps these and its stdio.
 * Fills the struct from scratch. Returns 0, or -1 with failed_step, failed_errno and detail set. */
int launch_open(int plan_fd, unsigned extra_fds, struct launch *l);

/* Walks the monitor's steps, splits off the child at `clone3`, lets it walk the rest.
 * Returns 0 when execve happened. Returns -1 with failed_* set when a step failed: the child is
 * reaped then, nothing runs and the fds above are closed (-1), but for log_fd.
 * Blocks while the child walks. Call once. */
int launch_run(struct launch *l);

#endif
