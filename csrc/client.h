/* client.h: the attached clients: sockets that the daemon handed over, such as hijacked connections of the API.
 *
 * The monitor serves them without the daemon: output goes to each that asked for the stream, raw or in Docker's
 * frames; what they send goes to the container's stdin. They may come and go at any time, before the start too.
 *
 * Rules that keep one client from harming the container or the others:
 *   - each holds at most one chunk of output that its socket would not take. When more comes before that is sent, the
 *     client is behind: it gets the rest from the log (replay.h) at its own pace, until it has caught up. The
 *     container, its log and its exit don't wait for it;
 *   - where the log can't say exactly what was written (none is kept; bytes that are no text; its limits are
 *     reached, log.h), the stream is not read on, as with a pipe, until nobody of that stream is behind. One that
 *     accepts nothing for `patience` milliseconds meanwhile is cut off if another one has it all (a socket accepts again
 *     when most of it has been read, so this means reading less than some 16 KB a second), or the container has exited;
 *   - the end of its input ends only its input; it is gone when the socket hangs up.
 *
 * Read next: input.h and detach.h (the way in), pump.h (the way out). */
#ifndef MINIDOCK_CLIENT_H
#define MINIDOCK_CLIENT_H

#include "detach.h"
#include "frame.h"
#include "input.h"
#include "log.h"
#include "loop.h"

/* Flags of an attach; the values are the control protocol's. */
#define CLIENT_STDIN   1U
#define CLIENT_STDOUT  STREAM_OUT
#define CLIENT_STDERR  STREAM_ERR
#define CLIENT_FRAMES  8U
#define CLIENT_LOG     16U /* begins with what the log has */
#define CLIENT_STREAMS (CLIENT_STDOUT | CLIENT_STDERR)

#define CLIENTS_MAX 128
#define HEADROOM    DETACH_MAX /* what each user of a scratch buffer leaves free at its start */

#ifndef CLIENT_PATIENCE
#define CLIENT_PATIENCE 10000 /* milliseconds without accepting a byte, until a client is cut off */
#endif

struct client;

struct clients {
    struct loop *loop;
    struct input *input;
    struct log *log;
    unsigned char *scratch; /* HEADROOM + CHUNK bytes, shared with whoever runs between two events */
    struct client *first;
    unsigned count;
    int64_t patience;
    bool impatient; /* the container has exited: nobody is waited for longer than that */
    bool parting;   /* nothing more will come: who has all is dropped */
    unsigned held;  /* the streams that are not read now because of who is behind */
    int64_t held_since;
    void *owner;
    void (*detached)(void *owner); /* one has left by its detach keys; its connection is still open */
};

/* Fill in owner and detached first. */
void clients_init(struct clients *all, struct loop *loop, struct input *input, struct log *log, unsigned char *scratch);

/* The log is open now, or there is none. */
void clients_log_opened(struct clients *all);

/* Takes over `fd`, a stream socket; closes it when there is no room. At most DETACH_MAX keys and CHUNK early bytes
 * (input that had already come in with the request). */
void clients_attach(struct clients *all, int fd, unsigned flags, const unsigned char *keys, size_t key_count,
                    const unsigned char *early, size_t early_size);

/* More of `stream` (CLIENT_STDOUT or CLIENT_STDERR) is about to be logged and sent: who has not got rid of the last
 * chunk gets this one from the log. */
void clients_fall_behind(struct clients *all, unsigned stream);

/* Sends output[0..n) to all that asked for `stream`, but for those that are behind. The FRAME_HEADER bytes before it are
 * overwritten. */
void clients_output(struct clients *all, unsigned stream, unsigned char *output, size_t n);

/* Whether a client of one of these streams has not got all of it. */
bool clients_behind(const struct clients *all, unsigned streams);

/* These streams are not read now, for the clients' sake. */
void clients_hold(struct clients *all, unsigned streams);

/* Drops who has left or has been cut off, says what the others wait for. Returns the next deadline. */
int64_t clients_settle(struct clients *all);

/* Drops those that have all there will ever be; the others when they have. */
void clients_part(struct clients *all);

#endif
