/* loop.c: the monitor's event loop, see loop.h. Serves monitor.c and everything that owns a watch.
 *
 * A watch that wants nothing is taken out of epoll altogether: a registered descriptor reports EPOLLHUP and
 * EPOLLERR even when it was asked for nothing, and a container that closed its stdout while a slow client
 * holds us back would then keep the monitor spinning.
 *
 * Read next: pump.c and client.c, which decide from moment to moment what they want. */
#include "loop.h"
#include "util.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>

#define RETRY 100 /* ms until what was refused is tried again */

int loop_open(struct loop *loop)
{
    *loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    return loop->epoll_fd < 0 ? -1 : 0;
}

void loop_want(struct loop *loop, struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    int operation = watch->events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

    if (watch->events == events)
        return;
    /* ENOMEM, or ENOSPC for all watches of a user: `events` keeps the old value, so the next call with the current
     * truth tries again. */
    if (epoll_ctl(loop->epoll_fd, operation, watch->fd, &event) == 0)
        watch->events = events;
    else
        loop->refused = true;
}

static int milliseconds_until(int64_t deadline)
{
    int64_t left = deadline == NO_DEADLINE ? -1 : deadline - loop_now();

    if (deadline == NO_DEADLINE)
        return -1;
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

bool loop_step(struct loop *loop, int64_t deadline)
{
    struct epoll_event event;
    struct watch *watch;
    int64_t again = loop_now() + RETRY;

    if (loop->refused && again < deadline)
        deadline = again;
    loop->refused = false;
    if (epoll_wait(loop->epoll_fd, &event, 1, milliseconds_until(deadline)) != 1)
        return false;
    watch = event.data.ptr;
    watch->ready(watch, event.events);
    return true;
}

int64_t loop_now(void)
{
    return (int64_t)(monotonic_ns() / 1000000);
}
