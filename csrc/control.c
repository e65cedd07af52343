/* control.c: connections of the daemon, see control.h for the protocol. Serves monitor.c.
 *
 * A daemon may vanish and its successor connect at any moment, so connections are plentiful and cheap: none is
 * special, each is greeted with the whole state. Descriptors that come uninvited are closed at once.
 * See: unix(7), SCM_RIGHTS and SO_PEERCRED.
 *
 * Read next: monitor.c. */
#include "control.h"
#include "util.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 4 /* room for more than the one that is ever wanted, to be able to close them */
#define ACCEPT_PAUSE    100

union descriptors {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
};

static void connection_close(struct connection *connection)
{
    if (connection->watch.fd >= 0)
        loop_want(connection->control->loop, &connection->watch, 0);
    close_fd(&connection->watch.fd);
}

/* The first descriptor of a received message; any further ones are closed. */
static int take_descriptor(struct msghdr *received)
{
    int taken = -1;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(received); c != NULL; c = CMSG_NXTHDR(received, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            int fd;
            memcpy(&fd, (char *)c + at, sizeof fd);
            if (taken < 0)
                taken = fd;
            else
                close(fd);
        }
    }
    return taken;
}

/* Reads one message. 1: here it is; 0: nothing to read after all; -1: closed by the peer, or malformed. */
static int receive(int fd, unsigned char *buffer, struct message *message)
{
    union descriptors descriptors;
    struct iovec parts[2] = {{&message->header, sizeof message->header},
                             {buffer, MESSAGE_MAX - sizeof message->header}};
    struct msghdr received = {.msg_iov = parts, .msg_iovlen = 2};

    received.msg_control = descriptors.bytes;
    received.msg_controllen = sizeof descriptors.bytes;
    ssize_t n = recvmsg(fd, &received, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    message->data = buffer;
    message->fd = take_descriptor(&received);
    message->cut = received.msg_flags & MSG_CTRUNC;
    if ((received.msg_flags & MSG_TRUNC) || (size_t)n != sizeof message->header + message->header.length)
        return -1;
    return 1;
}

static void connection_ready(struct watch *watch, uint32_t events)
{
    struct connection *connection = CONTAINER_OF(watch, struct connection, watch);
    struct control *control = connection->control;
    struct message message = {.fd = -1};

    (void)events;
    int result = receive(watch->fd, control->scratch, &message);
    if (result > 0 && !control->handle(control->owner, connection, &message))
        result = -1;
    close_fd(&message.fd);
    if (result < 0)
        connection_close(connection);
}

/* SO_PEERCRED: who called connect(2), vouched for by the kernel. */
static bool is_our_user(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

static struct connection *free_place(struct control *control)
{
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        if (control->connections[i].watch.fd < 0)
            return &control->connections[i];
    return NULL;
}

static void listener_ready(struct watch *watch, uint32_t events)
{
    struct control *control = CONTAINER_OF(watch, struct control, listener);
    struct connection *connection = free_place(control);
    CLEANUP_FD int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        control->accept_after = loop_now() + ACCEPT_PAUSE; /* EMFILE: asking at once again would only spin */
    if (fd < 0 || connection == NULL || !is_our_user(fd))
        return;
    connection->watch.fd = steal_fd(&fd);
    control->seen = true;
    control->greet(control->owner, connection);
}

void control_open(struct control *control, struct loop *loop, int listen_fd, unsigned char *scratch)
{
    control->loop = loop;
    control->scratch = scratch;
    control->listener = (struct watch){.fd = listen_fd, .ready = listener_ready};
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        control->connections[i] =
            (struct connection){.watch = {.fd = -1, .ready = connection_ready}, .control = control};
}

void control_send(struct connection *connection, struct message_header header, const void *data, int fd)
{
    union descriptors descriptors = {0};
    struct iovec parts[2] = {{&header, sizeof header}, {(void *)data, header.length}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

    if (connection->watch.fd < 0)
        return;
    if (fd >= 0) {
        message.msg_control = descriptors.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof fd);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    if (sendmsg(connection->watch.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        connection_close(connection);
}

void control_tell(struct control *control, struct message_header header)
{
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        control_send(&control->connections[i], header, NULL, -1);
}

void control_close(struct control *control)
{
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        connection_close(&control->connections[i]);
    loop_want(control->loop, &control->listener, 0);
    close_fd(&control->listener.fd);
}

bool control_connected(const struct control *control)
{
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        if (control->connections[i].watch.fd >= 0)
            return true;
    return false;
}

int64_t control_settle(struct control *control)
{
    bool pausing = control->accept_after != 0 && loop_now() < control->accept_after;

    if (!pausing)
        control->accept_after = 0;
    if (control->listener.fd >= 0)
        loop_want(control->loop, &control->listener, !pausing && free_place(control) != NULL ? EPOLLIN : 0);
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        if (control->connections[i].watch.fd >= 0)
            loop_want(control->loop, &control->connections[i].watch, EPOLLIN);
    return pausing ? control->accept_after : NO_DEADLINE;
}
