/* pump.c: output of the container, see pump.h. Serves monitor.c.
 *
 * A terminal has one stream, and its end is not end of file: when the last process closes the slave side, reading the
 * master fails with EIO. The master stays open then, because closing it would hang up a session that only
 * redirected its descriptors.
 * See: pty(7); moby daemon/attach.go.
 *
 * Read next: log.c, client.c. */
#include "pump.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void output_end(struct output *o)
{
    if (o->ended)
        return;
    o->ended = true;
    loop_want(o->pump->loop, &o->watch, 0);
    log_end(o->pump->log, &o->log);
}

static void output_ready(struct watch *watch, uint32_t events)
{
    struct output *o = CONTAINER_OF(watch, struct output, watch);
    unsigned char *chunk = o->pump->scratch + HEADROOM;
    ssize_t n = read(watch->fd, chunk, CHUNK);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        output_end(o);
        return;
    }
    o->owed -= (int)n;
    log_output(o->pump->log, &o->log, chunk, (size_t)n);
    clients_output(o->pump->clients, o->stream, chunk, (size_t)n);
}

static void output_init(struct output *o, struct pump *pump, unsigned stream, const char *name)
{
    o->watch = (struct watch){.fd = -1, .ready = output_ready};
    o->pump = pump;
    o->stream = stream;
    o->log.name = name;
    o->ended = true;
}

void pump_init(struct pump *pump, struct loop *loop, struct clients *clients, struct log *log, unsigned char *scratch)
{
    pump->loop = loop;
    pump->clients = clients;
    pump->log = log;
    pump->scratch = scratch;
    output_init(&pump->out, pump, CLIENT_STDOUT, "stdout");
    output_init(&pump->err, pump, CLIENT_STDERR, "stderr");
}

void pump_start(struct pump *pump, int stdout_fd, int stderr_fd)
{
    pump->out.watch.fd = stdout_fd;
    pump->out.ended = stdout_fd < 0;
    pump->err.watch.fd = stderr_fd;
    pump->err.ended = stderr_fd < 0;
}

static void output_settle(struct output *o)
{
    if (!o->ended)
        loop_want(o->pump->loop, &o->watch, clients_blocked(o->pump->clients, o->stream) ? 0 : EPOLLIN);
}

void pump_settle(struct pump *pump)
{
    output_settle(&pump->out);
    output_settle(&pump->err);
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

    return o->ended || (poll(&now, 1, 0) == 1 && now.revents == POLLHUP);
}

bool pump_ended(struct pump *pump)
{
    if (output_at_end(&pump->out))
        output_end(&pump->out);
    if (output_at_end(&pump->err))
        output_end(&pump->err);
    return pump->out.ended && pump->err.ended;
}

bool pump_owes(const struct pump *pump)
{
    return (!pump->out.ended && pump->out.owed > 0) || (!pump->err.ended && pump->err.owed > 0);
}

void pump_end(struct pump *pump)
{
    output_end(&pump->out);
    output_end(&pump->err);
}
