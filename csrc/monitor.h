/* monitor.h: the monitor as one struct: what it holds, and how far its container has come.
 *
 *     WAITING ──START──▶ RUNNING ──init is reaped──▶ DRAINING ──stdio at its end──▶ FLUSHING ──▶ RELEASING ──▶ PARTING ──▶ ENDED
 *        │                                                      exit record written           EXITED told   clients served
 *        └── start failed, or nobody is there to ask for it ─────────────────────────────────────────────────────────────▲
 *
 * Serves main.c, which makes the process, and monitor.c, which is its life. Read next: monitor.c. */
#ifndef MINIDOCK_MONITOR_H
#define MINIDOCK_MONITOR_H

#include "client.h"
#include "control.h"
#include "exitrecord.h"
#include "input.h"
#include "launch.h"
#include "log.h"
#include "loop.h"
#include "pump.h"

/* Descriptors that the daemon gives at the spawn; the plan's own follow. */
enum { LISTEN_FD = 3, PLAN_FD = 4, DIRECTORY_FD = 5, FIRST_PLAN_FD = FIRST_EXTRA_FD };

enum phase { WAITING, RUNNING, DRAINING, FLUSHING, RELEASING, PARTING, ENDED };

/* Linux has pages of 4, 16 (a Raspberry Pi 5) or 64 KiB, and madvise(2) rounds a length up to whole ones. */
#define LARGEST_PAGE 65536

/* What holds data, apart from what holds state: the memory of the first is given back when nothing passes through. */
struct buffers {
    _Alignas(LARGEST_PAGE) unsigned char scratch[HEADROOM + CHUNK]; /* for whoever handles the current event */
    char batch[LOG_BATCH];                                          /* nor does this hold anything between two events */
    _Alignas(LARGEST_PAGE) unsigned char lines[2][LOG_LINE];        /* the starts of unfinished lines */
    unsigned char input[INPUT_BUFFER];                              /* what the container's stdin would not take yet */
    unsigned char chunks[2][CHUNK];                                 /* output that waits for clients that are behind */
};

struct monitor {
    struct loop loop;
    struct watch children; /* a signalfd for SIGCHLD */
    struct control control;
    struct input input;
    struct clients clients;
    struct pump pump;
    struct log log;
    struct launch launch;
    unsigned plan_fds; /* how many descriptors the plan brought along */
    enum phase phase;
    int64_t deadline; /* of the phase */
    struct exit_status exit;
    bool recorded; /* the exit is on record: it can't be lost any more */
    struct buffers *buffers;
    bool buffers_used;
};

/* Lives until the container has exited and the daemon knows. Everything is zero at first but `buffers` and `plan_fds`.
 * Returns the process's own exit code. */
int monitor_live(struct monitor *monitor);

#endif
