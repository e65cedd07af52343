/* monitor.c: the life of a monitor, from waiting for START to the container's exit and its own end.
 *
 * One process, one loop, no threads. Whatever happens is an event for one of the parts (control.c, pump.c, client.c,
 * input.c); after each event monitor_settle() asks every part what it is waiting for now and moves on to the next phase
 * when it is time. Nothing else changes the phase.
 *
 * The order at an exit is what clients rely on:
 *   1. all output has been read, and is in the log;
 *   2. the exit record is written: from now on the exit code can't be lost. If that fails (a full tmpfs) the monitor does
 *      not end before a daemon has taken note of it;
 *   3. attached clients have all output, but for those that have been behind for FLUSH_PATIENCE now;
 *   4. the daemon is told, so whoever waits for the exit finds log and output complete;
 *   5. the daemon has taken note (RELEASE), so who sees its connection close can ask for the exit code;
 *   6. the clients' connections are closed, the daemon's too. For whoever is still behind (a pager that waits for its
 *      reader) the monitor stays, with nothing but the log and that connection, until all is sent or the client leaves.
 *
 * Read next: monitor.h (the phases), control.h (the protocol), launch.h (the start). */
#include "monitor.h"
#include "sys.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Milliseconds; the tests build a monitor with shorter ones. */
#ifndef CONNECT_LIMIT
#define CONNECT_LIMIT 10000 /* for the daemon that spawned us to connect */
#endif
#ifndef DRAIN_LIMIT
#define DRAIN_LIMIT 2000 /* for stray processes that still hold the container's stdout */
#endif
#ifndef FLUSH_PATIENCE
#define FLUSH_PATIENCE 2000 /* with clients that are behind, once the container has exited */
#endif
#ifndef RELEASE_LIMIT
#define RELEASE_LIMIT 2000 /* for the daemon to take note of the exit */
#endif
#define IDLE_TIME 1000 /* until the scratch buffers' memory is given back */

static void enter(struct monitor *m, enum phase phase, int64_t limit)
{
    m->phase = phase;
    m->deadline = limit == NO_DEADLINE ? NO_DEADLINE : loop_now() + limit;
}

/* ---- messages of the daemon ---- */

/* While the last output is on its way the container still counts as running; its pidfd then refers to a process that is
 * no more, which is what whoever signals it has to be told. */
static void greet(void *owner, struct connection *connection)
{
    struct monitor *m = owner;
    int32_t status[2] = {m->exit.code, m->exit.signal};
    struct message_header header = {MESSAGE_STATE, STATE_WAITING, (uint32_t)m->launch.pid, 0};

    if (m->phase >= RELEASING) {
        header.a = STATE_EXITED;
        header.length = sizeof status;
    } else if (m->phase >= RUNNING) {
        header.a = STATE_RUNNING;
    }
    control_send(connection, header, status, header.a == STATE_RUNNING ? m->launch.pidfd : -1);
}

static bool handle_attach(struct monitor *m, struct message *message)
{
    const struct message_header *h = &message->header;
    int type = 0;
    socklen_t size = sizeof type;

    if (message->fd < 0 && message->cut)
        return true; /* no descriptor was free for it: that client is lost, the connection is not to blame */
    if (message->fd < 0 || h->b > h->length || h->b > DETACH_MAX || h->a > 31)
        return false;
    if (getsockopt(message->fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM)
        return false;
    clients_attach(&m->clients, steal_fd(&message->fd), h->a, message->data, h->b, message->data + h->b,
                   h->length - h->b);
    return true;
}

static bool handle_resize(struct monitor *m, uint32_t rows, uint32_t cols)
{
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};

    if (rows > 65535 || cols > 65535)
        return false;
    if (m->launch.master_fd >= 0)
        ioctl(m->launch.master_fd, TIOCSWINSZ, &size);
    return true;
}

static void tell_failed(struct monitor *m, struct connection *connection)
{
    /* The scratch buffer holds a message at a time, and START has none that is still needed. */
    const struct launch *l = &m->launch;
    size_t results = l->nsteps * sizeof *l->results, detail = strnlen(l->detail, sizeof l->detail);
    unsigned char *at = m->buffers->scratch;

    memcpy(at, &l->nsteps, sizeof l->nsteps);
    if (results > 0)
        memcpy(at + sizeof l->nsteps, l->results, results);
    memcpy(at + sizeof l->nsteps + results, l->detail, detail);
    control_send(connection,
                 (struct message_header){MESSAGE_FAILED, l->failed_step, (uint32_t)l->failed_errno,
                                         (uint32_t)(sizeof l->nsteps + results + detail)},
                 at, -1);
}

/* What the start needed and a running container's monitor does not: an open descriptor of a network namespace, say,
 * would keep it alive. */
static void drop_start_descriptors(struct monitor *m)
{
    close(PLAN_FD);
    if (m->plan_fds > 0)
        sys_close_range(FIRST_PLAN_FD, FIRST_PLAN_FD + m->plan_fds - 1, 0);
}

/* Memory is short because of containers, not because of us. Only after the start: children inherit the value.
 * See: proc(5), oom_score_adj. Without CAP_SYS_RESOURCE it may fail; then we are as killable as anyone. */
static void shield_from_oom(void)
{
    CLEANUP_FD int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0)
        write_all(fd, "-999", 4);
}

static void begin_streams(struct monitor *m)
{
    struct launch *l = &m->launch;

    log_open(&m->log, l->log_fd, l->log_path, l->log_max_size, l->log_max_files);
    clients_log_opened(&m->clients);
    if (l->stdio_mode == STDIO_PTY) {
        /* A second descriptor for the way in, so that a terminal is served like a pair of pipes. */
        int in = l->stdin_mode == STDIN_NONE ? -1 : fcntl(l->master_fd, F_DUPFD_CLOEXEC, FIRST_PLAN_FD);
        input_start(&m->input, in, false);
        pump_start(&m->pump, l->master_fd, -1);
    } else {
        input_start(&m->input, l->stdin_fd, l->stdin_mode == STDIN_ONCE);
        pump_start(&m->pump, l->stdout_fd, l->stderr_fd);
    }
}

static void start(struct monitor *m, struct connection *connection)
{
    struct launch *l = &m->launch;

    if (launch_open(PLAN_FD, m->plan_fds, l) != 0 || launch_run(l) != 0) {
        tell_failed(m, connection);
        enter(m, ENDED, NO_DEADLINE);
        return;
    }
    drop_start_descriptors(m);
    begin_streams(m);
    enter(m, RUNNING, NO_DEADLINE);
    shield_from_oom();
    struct message_header header = {MESSAGE_STARTED, l->nsteps, (uint32_t)l->pid,
                                    (uint32_t)(l->nsteps * sizeof *l->results)};
    control_send(connection, header, l->results, l->pidfd);
}

/* The exit is known. Who has all output goes now, and so does the daemon. */
static void part(struct monitor *m)
{
    enter(m, PARTING, NO_DEADLINE);
    clients_part(&m->clients);
    control_close(&m->control);
}

static bool handle(void *owner, struct connection *connection, struct message *message)
{
    struct monitor *m = owner;
    const struct message_header *h = &message->header;

    switch (h->type) {
    case MESSAGE_ATTACH:
        return handle_attach(m, message);
    case MESSAGE_START:
        if (m->phase != WAITING)
            return false;
        start(m, connection);
        return true;
    case MESSAGE_RESIZE:
        return handle_resize(m, h->a, h->b);
    case MESSAGE_RELEASE:
        if (m->phase != RELEASING)
            return false;
        part(m);
        return true;
    default:
        return false;
    }
}

/* ---- children ---- */

/* Reaps all that died: the container's init and, since we are a subreaper, strays that it left behind. */
static void children_ready(struct watch *watch, uint32_t events)
{
    struct monitor *m = CONTAINER_OF(watch, struct monitor, children);
    struct signalfd_siginfo ignored;
    int status;
    pid_t pid;

    (void)events;
    while (read(watch->fd, &ignored, sizeof ignored) > 0)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (m->phase != RUNNING || pid != m->launch.pid)
            continue;
        m->exit = exit_status_of(status);
        m->clients.patience = FLUSH_PATIENCE;
        m->clients.impatient = true;
        pump_container_exited(&m->pump);
        enter(m, DRAINING, DRAIN_LIMIT);
    }
}

static int watch_children(struct monitor *m)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    m->children = (struct watch){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .ready = children_ready};
    return m->children.fd < 0 ? -1 : 0;
}

/* ---- phases ---- */

/* Output is complete when the streams have ended; or, when strays hold them open, when the time is up and all that the
 * container itself wrote has been passed on. */
static bool drained(struct monitor *m, int64_t now)
{
    if (pump_ended(&m->pump))
        return true;
    return now >= m->deadline && !pump_owes(&m->pump);
}

/* Moves on to the next phase when it is time. True when it did. */
static bool advance(struct monitor *m)
{
    int64_t now = loop_now();
    enum phase before = m->phase;

    if (before == WAITING && !control_connected(&m->control) && (m->control.seen || now >= m->deadline))
        enter(m, ENDED, NO_DEADLINE);
    if (before == DRAINING && drained(m, now)) {
        pump_end(&m->pump);
        input_close(&m->input);
        int result = exit_record_write(DIRECTORY_FD, m->exit);
        /* ENOENT: the directory has been removed, the socket with it, so that no daemon can come any more. */
        m->recorded = result == 0 || result == -ENOENT;
        enter(m, FLUSHING, FLUSH_PATIENCE);
    }
    if (before == FLUSHING && (now >= m->deadline || !clients_behind(&m->clients, CLIENT_STREAMS))) {
        control_tell(&m->control,
                     (struct message_header){MESSAGE_EXITED, (uint32_t)m->exit.code, (uint32_t)m->exit.signal, 0});
        enter(m, RELEASING, RELEASE_LIMIT);
    }
    if (before == RELEASING && m->recorded && (!control_connected(&m->control) || now >= m->deadline))
        part(m);
    if (before == PARTING && m->clients.first == NULL)
        enter(m, ENDED, NO_DEADLINE);
    return m->phase != before;
}

/* Gives every part its say after an event. Returns when to wake up without one. */
static int64_t settle(struct monitor *m)
{
    int64_t deadline, other = control_settle(&m->control);

    loop_want(&m->loop, &m->children, EPOLLIN);
    do
        deadline = clients_settle(&m->clients);
    while (pump_settle(&m->pump));
    input_settle(&m->input);
    if (other < deadline)
        deadline = other;
    /* A deadline that has passed without effect (output is still owed) is over: events decide from then on. */
    return m->deadline > loop_now() && m->deadline < deadline ? m->deadline : deadline;
}

/* A container may print much once and then be silent for a week: gives back the memory that took. */
static void give_back_memory(struct monitor *m)
{
    bool held = m->input.pending > 0 || m->log.streams[0].held > 0 || m->log.streams[1].held > 0 ||
                m->pump.out.waiting > 0 || m->pump.err.waiting > 0;

    madvise(m->buffers, held ? offsetof(struct buffers, lines) : sizeof *m->buffers, MADV_DONTNEED);
    m->buffers_used = false;
}

/* Told before the client sees its connection close, so that who detaches and then asks for events finds this one. */
static void detached(void *owner)
{
    struct monitor *m = owner;

    control_tell(&m->control, (struct message_header){MESSAGE_DETACHED, 0, 0, 0});
}

static int set_up(struct monitor *m)
{
    struct buffers *b = m->buffers;

    if (loop_open(&m->loop) != 0 || watch_children(m) != 0)
        return -1;
    m->control.owner = m;
    m->control.greet = greet;
    m->control.handle = handle;
    control_open(&m->control, &m->loop, LISTEN_FD, b->scratch);
    input_init(&m->input, &m->loop, b->input);
    m->clients.owner = m;
    m->clients.detached = detached;
    clients_init(&m->clients, &m->loop, &m->input, &m->log, b->scratch);
    pump_init(&m->pump, &m->loop, &m->clients, &m->log, b->scratch, b->chunks);
    m->log.fd = -1;
    m->log.batch = b->batch;
    m->log.streams[0].line = b->lines[0];
    m->log.streams[1].line = b->lines[1];
    enter(m, WAITING, CONNECT_LIMIT);
    return 0;
}

/* Waits for one event, or until the deadline. */
static void step(struct monitor *m, int64_t deadline)
{
    int64_t idle = m->buffers_used ? loop_now() + IDLE_TIME : NO_DEADLINE;

    if (loop_step(&m->loop, idle < deadline ? idle : deadline))
        m->buffers_used = true;
    else if (idle < deadline)
        give_back_memory(m);
}

int monitor_live(struct monitor *m)
{
    if (set_up(m) != 0)
        return 1;
    while (m->phase != ENDED) {
        int64_t deadline = settle(m);
        if (!advance(m))
            step(m, deadline);
    }
    /* Who is attached still (the start failed) is the daemon's client again, which tells him why on its copy of the connection:
     * ours goes with the process, without a hang-up. */
    return 0;
}
