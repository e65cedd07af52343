/* control.h: the control socket, on which the daemon tells the monitor what to do and learns what came of it.
 *
 * SOCK_SEQPACKET, so a message is a message; a little-endian header {type, a, b, length} and `length` bytes, 64 KiB in
 * all; file descriptors by SCM_RIGHTS. The daemon's end is minidock/runtime/monitor.py.
 *
 *     type          from     a              b        data                                 descriptor
 *     ATTACH     1  daemon   CLIENT_ flags  n        n detach keys, then early input      the client's socket
 *     START      2  daemon
 *     RESIZE     3  daemon   rows           columns
 *     RELEASE    4  daemon
 *     STATE     16  monitor  message_state  pid      when exited: i32 code, i32 signal    pidfd when running
 *     STARTED   17  monitor  steps          pid      the steps' results                   pidfd
 *     FAILED    18  monitor  step           errno    u32 count, results, detail text
 *     EXITED    19  monitor  code           signal
 *     DETACHED  20  monitor
 *
 * DETACHED: a client has left by its detach keys. It goes to who is connected at that moment, and to nobody later.
 * STATE greets every connection. A connection that sends anything malformed is closed; nothing else happens.
 * The socket lies in a 0700 directory, and a peer of another user is refused (CVE-2020-15257 is what became of
 * an abstract socket without that check).
 *
 * Read next: monitor.c, which handles the messages. */
#ifndef MINIDOCK_CONTROL_H
#define MINIDOCK_CONTROL_H

#include "loop.h"

#include <stdbool.h>
#include <stdint.h>

enum message_type {
    MESSAGE_ATTACH = 1,
    MESSAGE_START = 2,
    MESSAGE_RESIZE = 3,
    MESSAGE_RELEASE = 4,
    MESSAGE_STATE = 16,
    MESSAGE_STARTED = 17,
    MESSAGE_FAILED = 18,
    MESSAGE_EXITED = 19,
    MESSAGE_DETACHED = 20,
};

enum message_state { STATE_WAITING, STATE_RUNNING, STATE_EXITED };

struct message_header {
    uint32_t type, a, b, length;
};

#define MESSAGE_MAX     65536
#define CONNECTIONS_MAX 8

struct message {
    struct message_header header;
    const unsigned char *data;
    int fd;   /* -1: none came. A handler that keeps it leaves -1 here. */
    bool cut; /* one was sent and could not be received: this process has too many open */
};

struct connection {
    struct watch watch; /* fd -1: a free place */
    struct control *control;
};

struct control {
    struct loop *loop;
    struct watch listener;
    struct connection connections[CONNECTIONS_MAX];
    unsigned char *scratch; /* MESSAGE_MAX bytes */
    bool seen;              /* a daemon has been here */
    int64_t accept_after;   /* no descriptors left: when to try again */
    void *owner;
    void (*greet)(void *owner, struct connection *connection);
    bool (*handle)(void *owner, struct connection *connection, struct message *message); /* false: malformed */
};

/* Fill in owner, greet and handle first. */
void control_open(struct control *control, struct loop *loop, int listen_fd, unsigned char *scratch);

/* Sends header and data (header.length bytes of it), with a descriptor unless fd is -1. The connection is closed when it fails: a
 * daemon that does not read is no daemon. */
void control_send(struct connection *connection, struct message_header header, const void *data, int fd);

/* The same to all. */
void control_tell(struct control *control, struct message_header header);

/* No daemon is listened to any more. */
void control_close(struct control *control);

bool control_connected(const struct control *control);

/* Returns the next deadline. */
int64_t control_settle(struct control *control);

#endif
