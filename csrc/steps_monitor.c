/* steps_monitor.c: what the monitor sets up for itself before it splits off the child: log and stdio.
 *
 * The monitor lives outside the container, next to it: it keeps the far ends of the container's pipes (or the
 * master of its terminal), writes the log, and is there when the daemon is not. These steps only
 * prepare; the pumping is the monitor's loop.
 *
 * Serves: the plan's first lines. Read next: steps_devices.c, walk.c (step_clone3), monitor.c. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "step.h"

/* log: opens the container's json-file log.
 * Why:   the monitor writes the log, so that no line is lost while the daemon is down or being upgraded.
 * Order: before clone3: a log that can't be opened must stop the start, not lose the output later.
 *        O_NOFOLLOW and 0640: the directory is root's own, and stays so (CVE-2021-41091).
 * See:   open(2), O_APPEND.   Look: tail -f /var/lib/minidock/containers/ID/ID-json.log */
int step_log(struct walk *w, const struct plan_step *s)
{
    struct launch *l = w->launch;
    uint64_t size, files;
    int r = step_number(w, &s->field[1], INT64_MAX, &size);
    if (r == 0)
        r = step_number(w, &s->field[2], 10000, &files);
    if (r < 0)
        return r;
    l->log_max_size = size;
    l->log_max_files = (unsigned)files;
    l->log_path = strdup(s->field[0].text); /* outlives the plan: rotation needs it */
    if (l->log_path == NULL)
        return step_errno(w, s->field[0].text);
    l->log_fd = open(l->log_path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
    return l->log_fd < 0 ? step_errno(w, l->log_path) : 0;
}

/* One pipe: *ours is the monitor's non-blocking end, *theirs becomes a standard fd of the child. */
static int open_pipe(struct walk *w, bool to_child, int *ours, int *theirs)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return step_errno(w, "pipe");
    *theirs = ends[to_child ? 0 : 1];
    *ours = ends[to_child ? 1 : 0];
    int r = set_nonblocking(*ours);
    return r == 0 ? 0 : step_fail(w, -r, "pipe");
}

/* "once" and "open" differ only in what the monitor does when an attached client closes its half. */
static int parse_modes(struct walk *w, const struct plan_step *s)
{
    static const char *const stdin_modes[] = {[STDIN_NONE] = "none", [STDIN_OPEN] = "open", [STDIN_ONCE] = "once"};
    struct launch *l = w->launch;
    bool pty = strcmp(s->field[0].text, "pty") == 0;
    if (!pty && strcmp(s->field[0].text, "pipe") != 0)
        return step_fail(w, EINVAL, "unknown stdio mode: %s", s->field[0].text);
    l->stdio_mode = pty ? STDIO_PTY : STDIO_PIPE;
    for (size_t i = 0; i < ARRAY_LENGTH(stdin_modes); i++) {
        if (strcmp(s->field[1].text, stdin_modes[i]) == 0) {
            l->stdin_mode = (enum stdin_mode)i;
            return 0;
        }
    }
    return step_fail(w, EINVAL, "unknown stdin mode: %s", s->field[1].text);
}

/* The pipes of a container whose root is another user than the host's: it could not open /dev/stdout again. */
static int give_pipes(struct walk *w, const struct plan_field *owner)
{
    uint32_t uid = 0, gid = 0;
    int r = step_id(w, &owner[0], &uid);
    if (r == 0)
        r = step_id(w, &owner[1], &gid);
    for (int fd = 0; fd < 3 && r == 0; fd++) {
        if (w->child_stdio[fd] >= 0 && fchown(w->child_stdio[fd], uid, gid) < 0)
            r = step_errno(w, "owner of a pipe");
    }
    return r;
}

static int open_pipes(struct walk *w)
{
    struct launch *l = w->launch;
    int r = 0;
    if (l->stdin_mode != STDIN_NONE)
        r = open_pipe(w, true, &l->stdin_fd, &w->child_stdio[0]);
    if (r == 0)
        r = open_pipe(w, false, &l->stdout_fd, &w->child_stdio[1]);
    if (r == 0)
        r = open_pipe(w, false, &l->stderr_fd, &w->child_stdio[2]);
    return r;
}

/* stdio: three pipes between monitor and container, or the promise of a terminal. A fifth and a sixth field are the user
 *        and group whose the pipes are to be (the root of a user namespace).
 * Why:   pipes keep stdout and stderr apart and carry any bytes; a terminal (pty) is one stream with line
 *        editing and Ctrl-C. A pty can only be made in the container's own devpts, so `console` does it later.
 * Order: before clone3: the child inherits its ends. Only the monitor's ends are non-blocking; that flag
 *        belongs to the open file, and a program may not expect EAGAIN on its stdout.
 * See:   pipe(7), pty(7).   Look: ls -l /proc/PID/fd */
int step_stdio(struct walk *w, const struct plan_step *s)
{
    struct launch *l = w->launch;
    uint64_t rows, cols;
    int r = parse_modes(w, s);
    if (r == 0)
        r = step_number(w, &s->field[2], UINT16_MAX, &rows);
    if (r == 0)
        r = step_number(w, &s->field[3], UINT16_MAX, &cols);
    if (r < 0)
        return r;
    l->rows = (unsigned short)rows;
    l->cols = (unsigned short)cols;
    if (l->stdio_mode == STDIO_PTY)
        return 0;
    r = open_pipes(w);
    if (r == 0 && s->nfields == 6)
        r = give_pipes(w, &s->field[4]);
    return r;
}
