/* pump.c: output of the container, see pump.h. Serves monitor.c.
 *
 * A terminal has one stream, and no end of file: when the last process closes the slave side, reading the master fails
 * with EIO, until one opens it again (/dev/tty, or /dev/console by a getty). So it ends with the container only. As long as
 * nobody has it open, epoll would report the hang-up again and again; hence the edge-triggered wait, which is
 * woken by what is written next.
 * See: pty(7), epoll(7) EPOLLET.
 *
 * Read next: log.c, client.c. */
#include "pump.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void output_end(struct output *o)
{
    if (o->ended)
        return;
    o->ended = true;
    loop_want(o->pump->loop, &o->watch, 0);
    log_end(o->pump->log, o->log);
}

/* A chunk, with HEADROOM before it, to the log and the clients. */
static void output_pass(struct output *o, unsigned char *chunk, size_t n)
{
    clients_fall_behind(o->pump->clients, o->stream);
    log_output(o->pump->log, o->log, chunk, n);
    clients_output(o->pump->clients, o->stream, chunk, n);
}

/* Tells the clients which streams wait for them: a log that is full makes all wait for whoever reads it back. */
static void pump_hold(struct pump *pump)
{
    unsigned held = (pump->out.waiting > 0 ? CLIENT_STDOUT : 0) | (pump->err.waiting > 0 ? CLIENT_STDERR : 0);

    clients_hold(pump->clients, held != 0 && log_full(pump->log) ? CLIENT_STREAMS : held);
}

/* Whether a chunk has to wait: it would be lost for those who are behind, or the log must not grow for their sake. */
static bool output_must_wait(struct output *o, const unsigned char *chunk, size_t n)
{
    struct pump *pump = o->pump;

    if (clients_behind(pump->clients, o->stream) && !log_keeps(pump->log, o->log, chunk, n))
        return true;
    return log_full(pump->log) && clients_behind(pump->clients, CLIENT_STREAMS);
}

static void output_ready(struct watch *watch, uint32_t events)
{
    struct output *o = CONTAINER_OF(watch, struct output, watch);
    unsigned char *chunk = o->pump->scratch + HEADROOM;
    ssize_t n = read(watch->fd, chunk, CHUNK);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    o->unopened = n < 0 && errno == EIO;
    if (o->unopened)
        return;
    if (n <= 0) {
        output_end(o);
        return;
    }
    if (o->owed > 0)
        o->owed -= (int)n;
    if (output_must_wait(o, chunk, (size_t)n)) {
        memcpy(o->chunk, chunk, (size_t)n);
        o->waiting = (size_t)n;
        pump_hold(o->pump);
        return;
    }
    output_pass(o, chunk, (size_t)n);
}

static void output_init(struct output *o, struct pump *pump, unsigned stream, const char *name, unsigned char *chunk)
{
    o->watch = (struct watch){.fd = -1, .ready = output_ready};
    o->pump = pump;
    o->stream = stream;
    o->log = &pump->log->streams[STREAM_INDEX(stream)];
    o->log->name = name;
    o->chunk = chunk;
    o->ended = true;
}

void pump_init(struct pump *pump, struct loop *loop, struct clients *clients, struct log *log, unsigned char *scratch,
               unsigned char (*chunks)[CHUNK])
{
    pump->loop = loop;
    pump->clients = clients;
    pump->log = log;
    pump->scratch = scratch;
    output_init(&pump->out, pump, CLIENT_STDOUT, "stdout", chunks[0]);
    output_init(&pump->err, pump, CLIENT_STDERR, "stderr", chunks[1]);
}

void pump_start(struct pump *pump, int stdout_fd, int stderr_fd)
{
    pump->out.watch.fd = stdout_fd;
    pump->out.ended = stdout_fd < 0;
    pump->err.watch.fd = stderr_fd;
    pump->err.ended = stderr_fd < 0;
}

/* True when a chunk went out that had been waiting. Nobody is behind then, so it need not be looked at again. */
static bool output_settle(struct output *o)
{
    struct pump *pump = o->pump;
    unsigned streams = log_full(pump->log) ? CLIENT_STREAMS : o->stream;
    size_t n = o->waiting;

    if (n > 0 && !clients_behind(pump->clients, streams)) {
        o->waiting = 0;
        memcpy(pump->scratch + HEADROOM, o->chunk, n);
        output_pass(o, pump->scratch + HEADROOM, n);
    }
    if (!o->ended)
        loop_want(pump->loop, &o->watch, o->waiting > 0 ? 0 : o->unopened ? EPOLLIN | EPOLLET : EPOLLIN);
    return o->waiting < n;
}

bool pump_settle(struct pump *pump)
{
    bool out = output_settle(&pump->out), err = output_settle(&pump->err);

    pump_hold(pump);
    return out || err;
}

static void output_count(struct output *o)
{
    if (o->ended || ioctl(o->watch.fd, FIONREAD, &o->owed) != 0)
        o->owed = 0;
}

void pump_container_exited(struct pump *pump)
{
    output_count(&pump->out);
    output_count(&pump->err);
}

/* Empty, and nobody is left to write: a hang-up without input. */
static bool output_at_end(const struct output *o)
{
    struct pollfd now = {.fd = o->watch.fd, .events = POLLIN};

    return o->ended || (o->waiting == 0 && poll(&now, 1, 0) == 1 && now.revents == POLLHUP);
}

bool pump_ended(struct pump *pump)
{
    if (output_at_end(&pump->out))
        output_end(&pump->out);
    if (output_at_end(&pump->err))
        output_end(&pump->err);
    return pump->out.ended && pump->err.ended;
}

static bool output_owes(const struct output *o)
{
    return !o->ended && (o->owed > 0 || o->waiting > 0);
}

bool pump_owes(const struct pump *pump)
{
    return output_owes(&pump->out) || output_owes(&pump->err);
}

void pump_end(struct pump *pump)
{
    output_end(&pump->out);
    output_end(&pump->err);
}
