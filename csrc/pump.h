/* pump.h: the container's stdout and stderr, or its terminal → log and attached clients.
 *
 * One read gives one chunk; the chunk goes to the log first and then to every client of that stream. While a client
 * still holds a chunk its streams are not read.
 *
 * A stream ends at end of file. After the container's exit a stray process may hold it open for ever, so the monitor
 * ends it by force then; pump_owes() tells whether what the container itself wrote is all through.
 *
 * Read next: log.h, client.h. */
#ifndef MINIDOCK_PUMP_H
#define MINIDOCK_PUMP_H

#include "client.h"
#include "log.h"
#include "loop.h"

struct output {
    struct watch watch;
    struct pump *pump;
    unsigned stream; /* CLIENT_STDOUT or CLIENT_STDERR */
    bool ended;
    int owed; /* bytes that were in the pipe when the container exited and have not been read */
    struct log_stream log;
};

struct pump {
    struct loop *loop;
    struct clients *clients;
    struct log *log;
    unsigned char *scratch; /* HEADROOM + CHUNK bytes */
    struct output out, err;
};

void pump_init(struct pump *pump, struct loop *loop, struct clients *clients, struct log *log, unsigned char *scratch);

/* The container runs. The fds (non-blocking) stay the caller's; -1 where there is no such stream. */
void pump_start(struct pump *pump, int stdout_fd, int stderr_fd);

void pump_settle(struct pump *pump);

/* The container has exited: notes what is in the pipes now. */
void pump_container_exited(struct pump *pump);

/* Whether both streams are at their end, also those that are not read now because a client is blocked. */
bool pump_ended(struct pump *pump);
bool pump_owes(const struct pump *pump);

/* Ends both streams as they are: the last piece of a line goes to the log. */
void pump_end(struct pump *pump);

#endif
