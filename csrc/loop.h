/* loop.h: the monitor's event loop, one epoll instance and one event at a time.
 *
 * Whoever waits for a file descriptor owns a `struct watch` and says with loop_want() which events it
 * wants now; the loop calls its `ready`. There are no timers: each part tells the monitor its next
 * deadline, and the monitor waits no longer than that (monitor.c, settle).
 *
 * loop_step() takes a single event from the kernel, so that no event for a watch that an earlier one
 * of the same batch has removed can ever be seen. The kernel moves a descriptor that stays ready to the end
 * of its list, so nobody starves.
 *
 * Read next: monitor.c, which turns the crank. */
#ifndef MINIDOCK_LOOP_H
#define MINIDOCK_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#define NO_DEADLINE INT64_MAX

/* The most that is read from anywhere at once, and held for anyone at once: a pipe's own size. */
#define CHUNK 65536

struct watch {
    int fd;
    uint32_t events; /* what epoll has been told; 0: not registered */
    void (*ready)(struct watch *watch, uint32_t events);
};

struct loop {
    int epoll_fd;
    bool refused; /* a watch, for want of memory: what it waits for may never come by itself */
};

/* The struct that a watch (or any other member) lies in. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

int loop_open(struct loop *loop);

/* Sets the events to wait for; 0 takes the watch out. EPOLLHUP and EPOLLERR come with any other event, and
 * EPOLLHUP alone waits for nothing else. Cheap when nothing changes: call it with the current truth as often
 * as is convenient. Before its fd is closed a watch has to be taken out. */
void loop_want(struct loop *loop, struct watch *watch, uint32_t events);

/* Waits until one watch is ready or `deadline` (loop_now's clock) has passed. False: nothing happened. */
bool loop_step(struct loop *loop, int64_t deadline);

/* Milliseconds of a clock that never jumps. */
int64_t loop_now(void);

#endif
