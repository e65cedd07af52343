/* input.h: the container's stdin: what attached clients type goes in here.
 *
 * Before the start it takes nothing; while it is open it takes one chunk and, when the pipe is full, holds the rest
 * and takes no more until that has gone; once it is closed it takes everything and drops it. A client is only read
 * while input_accepts(), which carries the back-pressure of the pipe over to the client's socket.
 *
 * Read next: client.c, the only caller of input_write(). */
#ifndef MINIDOCK_INPUT_H
#define MINIDOCK_INPUT_H

#include "detach.h"
#include "loop.h"

struct input {
    struct watch watch; /* fd: the pipe's write end or the pty */
    struct loop *loop;
    enum { INPUT_WAITING, INPUT_OPEN, INPUT_ENDING, INPUT_CLOSED } state;
    bool ends; /* the first client's end of input closes it for ever */
    size_t pending, sent;
    unsigned char *buffer; /* INPUT_BUFFER bytes */
};

#define INPUT_BUFFER (CHUNK + DETACH_MAX)

void input_init(struct input *input, struct loop *loop, unsigned char *buffer);

/* The container runs. `fd` (non-blocking, ours from now on) may be -1: then all input is dropped. */
void input_start(struct input *input, int fd, bool ends);

bool input_accepts(const struct input *input);

/* At most one chunk and what a detach sequence held back. Only while input_accepts(). */
void input_write(struct input *input, const unsigned char *data, size_t n);

/* A client has no more input. */
void input_end(struct input *input);

void input_close(struct input *input);
void input_settle(struct input *input);

#endif
