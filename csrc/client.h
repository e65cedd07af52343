/* client.h: the attached clients: sockets that the daemon handed over, such as hijacked connections of the API.
 *
 * The monitor serves them without the daemon: output goes to each that asked for the stream, raw or in Docker's
 * frames; what they send goes to the container's stdin. They may come and go at any time, before the start too.
 *
 * Rules that keep one client from harming the container or the others:
 *   - each holds at most one chunk of output that its socket would not take; while one does, its streams
 *     are not read, so the container waits as it would for a pipe;
 *   - one that accepts nothing for `patience` milliseconds while another one is ready for more is cut off (a socket
 *     accepts again when most of it has been read, so this means reading less than some 16 KB a second). Alone it
 *     holds up nobody but the container that writes to it, as `| less` would, and may take its time until the exit;
 *   - the end of its input ends only its input; it is gone when the socket hangs up.
 *
 * Read next: input.h and detach.h (the way in), pump.h (the way out). */
#ifndef MINIDOCK_CLIENT_H
#define MINIDOCK_CLIENT_H

#include "detach.h"
#include "input.h"
#include "loop.h"

/* Flags of an attach; the values are the control protocol's. */
#define CLIENT_STDIN  1U
#define CLIENT_STDOUT 2U
#define CLIENT_STDERR 4U
#define CLIENT_FRAMES 8U

#define CLIENTS_MAX  128
#define FRAME_HEADER 8
#define HEADROOM     DETACH_MAX /* what each user of a scratch buffer leaves free at its start */

#ifndef CLIENT_PATIENCE
#define CLIENT_PATIENCE 10000 /* milliseconds without accepting a byte, until a client is cut off */
#endif

struct client;

struct clients {
    struct loop *loop;
    struct input *input;
    unsigned char *scratch; /* HEADROOM + CHUNK bytes, shared with whoever runs between two events */
    struct client *first;
    unsigned count;
    int64_t patience;
    bool impatient; /* the container has exited: nobody is waited for longer than that */
};

void clients_init(struct clients *all, struct loop *loop, struct input *input, unsigned char *scratch);

/* Takes over `fd`, a stream socket; closes it when there is no room. At most DETACH_MAX keys and CHUNK early bytes
 * (input that had already come in with the request). */
void clients_attach(struct clients *all, int fd, unsigned flags, const unsigned char *keys, size_t key_count,
                    const unsigned char *early, size_t early_size);

/* Sends output[0..n) to all that asked for `stream` (CLIENT_STDOUT or CLIENT_STDERR). The FRAME_HEADER bytes before
 * it are overwritten. Only while no client of that stream is blocked. */
void clients_output(struct clients *all, unsigned stream, unsigned char *output, size_t n);

/* Whether a client of one of these streams still holds output. */
bool clients_blocked(const struct clients *all, unsigned streams);

/* Drops who has left or has been cut off, says what the others wait for. Returns the next deadline. */
int64_t clients_settle(struct clients *all);

void clients_close(struct clients *all);

#endif
