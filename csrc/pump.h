/* pump.h: the container's stdout and stderr, or its terminal → log and attached clients.
 *
 * One read gives one chunk; the chunk goes to the log first and then to every client of that stream that is not behind.
 * A chunk that the log can't keep as it is waits until none of them is, and its stream is not read meanwhile.
 *
 * A pipe ends at end of file, a terminal with the container. After the container's exit a stray process may hold it open for ever, so the monitor
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
    bool unopened; /* a terminal that no process has open now */
    int owed;      /* bytes that were in the pipe when the container exited and have not been read */
    struct log_stream *log;
    size_t waiting; /* bytes of a chunk that has been read and goes nowhere yet */
    unsigned char *chunk;
};

struct pump {
    struct loop *loop;
    struct clients *clients;
    struct log *log;
    unsigned char *scratch; /* HEADROOM + CHUNK bytes */
    struct output out, err;
};

/* `chunks` are what may wait, CHUNK bytes for each stream. */
void pump_init(struct pump *pump, struct loop *loop, struct clients *clients, struct log *log, unsigned char *scratch,
               unsigned char (*chunks)[CHUNK]);

/* The container runs. The fds (non-blocking) stay the caller's; -1 where there is no such stream. */
void pump_start(struct pump *pump, int stdout_fd, int stderr_fd);

/* True when a chunk that had been waiting went out: the clients have to be asked again what they want. */
bool pump_settle(struct pump *pump);

/* The container has exited: notes what is in the pipes now. */
void pump_container_exited(struct pump *pump);

/* Whether both streams are at their end. */
bool pump_ended(struct pump *pump);
bool pump_owes(const struct pump *pump);

/* Ends both streams as they are: the last piece of a line goes to the log. */
void pump_end(struct pump *pump);

#endif
