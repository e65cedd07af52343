/* client.c: attached clients, see client.h for the rules. Serves pump.c and monitor.c.
 *
 * The sockets are used with MSG_DONTWAIT and not set non-blocking: O_NONBLOCK belongs to the open file, which the
 * daemon may still share for a moment. A client and its buffers are one anonymous mapping: pages that are never used
 * are never there, and the program needs no malloc.
 *
 * Nothing is freed while an event is being handled; clients_settle() does that between two events.
 * See: Docker Engine API, "Attach to a container", stream format (the frames).
 *
 * Read next: input.c. */
#include "client.h"
#include "replay.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    struct watch watch;
    struct clients *all;
    struct client *next;
    unsigned flags;
    bool eof;  /* its input has ended */
    bool gone; /* it has hung up: there may still be input of it, but output is pointless */
    bool dead; /* to be dropped */
    struct detach detach;
    size_t early;         /* bytes in early_input, 0 when they are delivered */
    size_t pending, sent; /* output[sent..pending) waits for the socket */
    int64_t since;        /* when the socket took something, or the wait began */
    struct replay replay; /* on: what comes is read back from the log for it */
    unsigned char early_input[HEADROOM + CHUNK];
    unsigned char output[FRAME_HEADER + CHUNK];
};

static void client_gone(struct client *c)
{
    c->gone = true;
    c->pending = 0;
    c->replay.on = false;
}

/* Whether it has not got all of its streams. */
static bool client_behind(const struct client *c)
{
    return !c->dead && (c->pending > 0 || c->replay.on);
}

/* in[0..n), with HEADROOM before it, goes to the container, but for detach keys. */
static void client_input(struct client *c, unsigned char *in, size_t n)
{
    if (!(c->flags & CLIENT_STDIN))
        return;
    unsigned char *out = in - HEADROOM;
    n = detach_filter(&c->detach, out, in, n, &c->dead);
    input_write(c->all->input, out, n);
    if (c->dead)
        c->all->detached(c->all->owner);
}

static void client_input_ended(struct client *c)
{
    c->eof = true;
    if (!(c->flags & CLIENT_STDIN))
        return;
    input_write(c->all->input, c->detach.keys, c->detach.matched); /* the beginning of a sequence that never came */
    input_end(c->all->input);
}

static bool client_readable(const struct client *c)
{
    return !c->eof && c->early == 0 && (!(c->flags & CLIENT_STDIN) || input_accepts(c->all->input));
}

static void client_read(struct client *c)
{
    unsigned char *in = c->all->scratch + HEADROOM;
    ssize_t n = recv(c->watch.fd, in, CHUNK, MSG_DONTWAIT);

    if (n > 0)
        client_input(c, in, (size_t)n);
    else if (n == 0)
        client_input_ended(c);
    else if (errno != EAGAIN && errno != EINTR) { /* ECONNRESET */
        client_gone(c);
        client_input_ended(c);
    }
}

/* Gives bytes to the socket. Returns how many it took; n when the client is gone. */
static size_t client_send(struct client *c, const unsigned char *data, size_t n)
{
    ssize_t sent;

    do
        sent = send(c->watch.fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN) {
        client_gone(c);
        return n;
    }
    return sent < 0 ? 0 : (size_t)sent;
}

static void client_flush(struct client *c)
{
    size_t sent = client_send(c, c->output + c->sent, c->pending - c->sent);

    if (sent > 0)
        c->since = loop_now();
    c->sent += sent;
    if (c->sent >= c->pending)
        c->pending = 0;
}

/* Something of the log, for one that is behind. */
static void client_replay(struct client *c)
{
    c->sent = 0;
    c->pending = replay_step(&c->replay, c->all->log, c->flags, c->output, sizeof c->output);
    c->since = loop_now();
    if (c->pending > 0)
        client_flush(c);
}

static void client_ready(struct watch *watch, uint32_t events)
{
    struct client *c = CONTAINER_OF(watch, struct client, watch);

    if (events & (EPOLLHUP | EPOLLERR))
        client_gone(c);
    if ((events & EPOLLIN) && client_readable(c))
        client_read(c);
    if ((events & EPOLLOUT) && c->pending > 0)
        client_flush(c);
    if ((events & EPOLLOUT) && c->pending == 0 && c->replay.on)
        client_replay(c);
}

void clients_init(struct clients *all, struct loop *loop, struct input *input, struct log *log, unsigned char *scratch)
{
    all->loop = loop;
    all->input = input;
    all->log = log;
    all->scratch = scratch;
    all->patience = CLIENT_PATIENCE;
}

/* What a client gets first. */
static void client_begin(struct client *c)
{
    if (!(c->flags & CLIENT_LOG))
        return;
    replay_from_start(&c->replay, c->all->log);
    c->all->log->read_back |= c->replay.on;
}

void clients_attach(struct clients *all, int fd, unsigned flags, const unsigned char *keys, size_t key_count,
                    const unsigned char *early, size_t early_size)
{
    struct client *c = MAP_FAILED;

    if (all->count < CLIENTS_MAX)
        c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c == MAP_FAILED) {
        close(fd);
        return;
    }
    c->watch = (struct watch){.fd = fd, .ready = client_ready};
    c->all = all;
    c->flags = flags;
    memcpy(c->detach.keys, keys, key_count);
    c->detach.length = key_count;
    memcpy(c->early_input + HEADROOM, early, early_size);
    c->early = early_size;
    client_begin(c);
    c->next = all->first;
    all->first = c;
    all->count++;
}

void clients_log_opened(struct clients *all)
{
    for (struct client *c = all->first; c != NULL; c = c->next)
        client_begin(c);
}

void clients_fall_behind(struct clients *all, unsigned stream)
{
    all->log->read_back = false;
    for (struct client *c = all->first; c != NULL; c = c->next) {
        if ((c->flags & stream) && client_behind(c) && !c->replay.on)
            replay_from_now(&c->replay, all->log);
        all->log->read_back |= !c->dead && c->replay.on;
    }
}

static void client_output(struct client *c, const unsigned char *data, size_t n)
{
    size_t sent = client_send(c, data, n);

    if (sent == n)
        return;
    memcpy(c->output, data + sent, n - sent);
    c->pending = n - sent;
    c->sent = 0;
    c->since = loop_now();
}

void clients_output(struct clients *all, unsigned stream, unsigned char *output, size_t n)
{
    unsigned char *framed = output - FRAME_HEADER;

    frame_header(framed, stream, n);
    for (struct client *c = all->first; c != NULL; c = c->next) {
        if (c->gone || c->dead || c->replay.on || !(c->flags & stream))
            continue;
        if (c->flags & CLIENT_FRAMES)
            client_output(c, framed, n + FRAME_HEADER);
        else
            client_output(c, output, n);
    }
}

bool clients_behind(const struct clients *all, unsigned streams)
{
    for (const struct client *c = all->first; c != NULL; c = c->next)
        if ((c->flags & streams) && client_behind(c))
            return true;
    return false;
}

void clients_hold(struct clients *all, unsigned streams)
{
    if (streams != 0 && all->held == 0)
        all->held_since = loop_now();
    all->held = streams;
}

/* Hangs up. Input that nobody will read any more is taken out of the socket before it is closed: closing one with unread
 * data resets the connection, and with TCP the client would lose output that it has not read yet. */
static void client_drop(struct client *c)
{
    loop_want(c->all->loop, &c->watch, 0);
    shutdown(c->watch.fd, SHUT_RDWR);
    for (int i = 0; i < 16 && recv(c->watch.fd, c->all->scratch, CHUNK, MSG_DONTWAIT) > 0; i++)
        ;
    close(c->watch.fd);
    c->all->count--;
    munmap(c, sizeof *c);
}

/* Whether somebody is ready for the streams that are held up. */
static bool others_wait(const struct clients *all)
{
    for (const struct client *c = all->first; c != NULL; c = c->next)
        if ((c->flags & all->held) && !c->dead && !client_behind(c))
            return true;
    return all->impatient;
}

/* When a client that holds others up has had time enough; NO_DEADLINE for one that doesn't. */
static int64_t client_deadline(const struct client *c)
{
    const struct clients *all = c->all;

    if (!(c->flags & all->held) || !client_behind(c))
        return NO_DEADLINE;
    return (c->since > all->held_since ? c->since : all->held_since) + all->patience;
}

static void client_settle(struct client *c, int64_t now)
{
    uint32_t want = c->gone ? 0 : EPOLLHUP;

    if (c->early > 0 && input_accepts(c->all->input)) {
        client_input(c, c->early_input + HEADROOM, c->early);
        c->early = 0;
    }
    if (now >= client_deadline(c) && others_wait(c->all))
        c->dead = true;
    if (c->all->parting && !client_behind(c))
        c->dead = true;
    if (c->gone && (c->eof || !(c->flags & CLIENT_STDIN)))
        c->dead = true;
    if (client_readable(c))
        want |= EPOLLIN;
    if (client_behind(c))
        want |= EPOLLOUT;
    if (!c->dead)
        loop_want(c->all->loop, &c->watch, want);
}

int64_t clients_settle(struct clients *all)
{
    int64_t now = all->first != NULL ? loop_now() : 0, deadline = NO_DEADLINE;

    for (struct client **link = &all->first; *link != NULL;) {
        struct client *c = *link;
        client_settle(c, now);
        if (c->dead) {
            *link = c->next;
            client_drop(c);
            continue;
        }
        if (client_deadline(c) < deadline && client_deadline(c) > now)
            deadline = client_deadline(c);
        link = &c->next;
    }
    return deadline;
}

void clients_part(struct clients *all)
{
    all->parting = true;
    clients_settle(all);
}
