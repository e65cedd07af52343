/* input.c: the container's stdin, see input.h. Serves client.c and monitor.c.
 *
 * A container that closes its stdin, or never reads it, is no error: `yes | docker run -i busybox true` must end.
 * EPIPE closes our end, and what clients still send is dropped. A terminal keeps what is typed for whoever opens it next.
 *
 * Read next: client.c. */
#include "input.h"
#include "util.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void input_close(struct input *input)
{
    if (input->watch.fd >= 0)
        loop_want(input->loop, &input->watch, 0);
    close_fd(&input->watch.fd);
    input->pending = 0;
    input->state = INPUT_CLOSED;
}

/* Writes what the pipe takes. Returns how much that was, or n when there is nobody left to write to. */
static size_t feed(struct input *input, const unsigned char *data, size_t n)
{
    ssize_t wrote;

    do
        wrote = write(input->watch.fd, data, n);
    while (wrote < 0 && errno == EINTR);
    if (wrote < 0 && errno != EAGAIN) {
        input_close(input);
        return n;
    }
    return wrote < 0 ? 0 : (size_t)wrote;
}

static void input_ready(struct watch *watch, uint32_t events)
{
    struct input *input = CONTAINER_OF(watch, struct input, watch);

    (void)events;
    input->sent += feed(input, input->buffer + input->sent, input->pending - input->sent);
    if (input->state == INPUT_CLOSED || input->sent < input->pending)
        return;
    input->pending = 0;
    if (input->state == INPUT_ENDING)
        input_close(input);
}

void input_init(struct input *input, struct loop *loop, unsigned char *buffer)
{
    input->loop = loop;
    input->buffer = buffer;
    input->watch = (struct watch){.fd = -1, .ready = input_ready};
    input->state = INPUT_WAITING;
}

void input_start(struct input *input, int fd, bool ends)
{
    input->watch.fd = fd;
    input->ends = ends;
    input->state = fd >= 0 ? INPUT_OPEN : INPUT_CLOSED;
}

bool input_accepts(const struct input *input)
{
    return input->state >= INPUT_ENDING || (input->state == INPUT_OPEN && input->pending == 0);
}

void input_write(struct input *input, const unsigned char *data, size_t n)
{
    if (input->state != INPUT_OPEN || n == 0)
        return;
    size_t taken = feed(input, data, n);
    if (input->state == INPUT_CLOSED || taken == n)
        return;
    memcpy(input->buffer, data + taken, n - taken);
    input->pending = n - taken;
    input->sent = 0;
}

void input_end(struct input *input)
{
    if (input->state != INPUT_OPEN || !input->ends)
        return;
    if (input->pending > 0)
        input->state = INPUT_ENDING;
    else
        input_close(input);
}

void input_settle(struct input *input)
{
    if (input->watch.fd >= 0)
        loop_want(input->loop, &input->watch, input->pending > 0 ? EPOLLOUT : 0);
}
