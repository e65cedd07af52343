/* steps_tty.c: the container's terminal (-t): a pty of its own devpts, with the master in the monitor's hands.
 *
 *     docker run -it ── attach socket ── monitor ── pty master │ pty slave ── the container's fds 0 to 2
 *
 * The pair is made from inside, so that its name (/dev/pts/0) means something there. No name is used to get
 * the slave: TIOCGPTPEER returns it from the master's fd, since a path such as /dev/pts/0 can be swapped for a
 * symlink before it is opened or bound (CVE-2025-52565).
 *
 * Serves: plans of containers (`console`) and of exec sessions (`tty`). Read next: report.c, pty(7). */
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "path.h"
#include "report.h"
#include "step.h"
#include "sys.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

/* The master, from a multiplexer that is proven to be one: character device 5:2 on a devpts. */
static int open_master(struct walk *w)
{
    int root = walk_root(w);
    if (root < 0)
        return root;
    CLEANUP_FD int directory = path_open(root, "/dev/pts", O_PATH | O_DIRECTORY, 0);
    if (directory < 0)
        return step_fail(w, -directory, "/dev/pts");
    if (!on_filesystem(directory, DEVPTS_SUPER_MAGIC))
        return step_fail(w, EINVAL, "/dev/pts is not a devpts");
    CLEANUP_FD int master = path_open(directory, "ptmx", O_RDWR | O_NOCTTY, RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
    if (master < 0)
        return step_fail(w, -master, "/dev/pts/ptmx");
    int unlock = 0;
    if (!is_device(master, 5, 2) || ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return step_fail(w, EINVAL, "/dev/pts/ptmx is not a terminal multiplexer");
    return steal_fd(&master);
}

/* The pair: sets the size, sends the master away, returns the slave. */
static int open_pair(struct walk *w)
{
    const struct launch *l = w->launch;
    if (l->stdio_mode != STDIO_PTY)
        return step_fail(w, EINVAL, "the plan's stdio is not a pty");
    CLEANUP_FD int master = open_master(w);
    if (master < 0)
        return master;
    CLEANUP_FD int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return step_errno(w, "the pty's other end");
    if (!on_filesystem(slave, DEVPTS_SUPER_MAGIC))
        return step_fail(w, EINVAL, "the pty's other end is not on a devpts");
    const struct winsize size = {.ws_row = l->rows, .ws_col = l->cols};
    if (l->rows != 0 && l->cols != 0 && ioctl(master, TIOCSWINSZ, &size) < 0)
        return step_errno(w, "the pty's size");
    int r = report_send_fd(w->report_fd, REPORT_MASTER, master);
    return r < 0 ? step_fail(w, -r, "the pty's master could not be handed over") : steal_fd(&slave);
}

/* TIOCSCTTY: a session leader without a terminal takes this one; Ctrl-C and hang-up are signals to its group from
 * now on. Whatever was on fds 0 to 2 before (the host's null device) is gone with the dup2. */
static int take_terminal(struct walk *w, int slave)
{
    if (ioctl(slave, TIOCSCTTY, 0) < 0)
        return step_errno(w, "the pty as controlling terminal");
    for (int fd = 0; fd < 3; fd++) {
        if (dup2(slave, fd) < 0)
            return step_errno(w, "the pty on the standard fds");
    }
    return 0;
}

/* Mounts the slave, by its fd, on /dev/console. A console that is a symlink is refused, none at all is fine. */
static int cover_console(struct walk *w, int slave)
{
    CLEANUP_FD int dev = path_open(w->root_fd, "/dev", O_PATH | O_DIRECTORY, 0);
    if (dev < 0)
        return 0;
    CLEANUP_FD int made = openat(dev, "console", O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (made < 0 && errno != EEXIST)
        return errno == EROFS ? 0 : step_errno(w, "/dev/console");
    CLEANUP_FD int place = path_open(dev, "console", O_PATH, RESOLVE_NO_SYMLINKS); /* O_NOFOLLOW would give the link */
    if (place < 0)
        return step_fail(w, -place, "/dev/console");
    CLEANUP_FD int tree = sys_open_tree_clone(slave, "", AT_EMPTY_PATH);
    return tree < 0 || sys_move_mount(tree, place) < 0 ? step_errno(w, "/dev/console") : 0;
}

/* console: the container's own terminal, also as /dev/console.
 * Why:   with -t the program gets line editing, job control and a window size; syslog and init look for /dev/console.
 * Order: behind the mount of devpts and behind `session`; before pivot_root or after, the root's fd is the same.
 * See:   pty(7), ioctl_tty(2) TIOCGPTPEER, OCI runtime spec "process.terminal".   Look: ls -l /proc/PID/fd; tty inside */
int step_console(struct walk *w, const struct plan_step *s)
{
    (void)s;
    if (!w->is_private)
        return step_fail(w, EINVAL, "mounts still propagate to the host: `private` must come first");
    CLEANUP_FD int slave = open_pair(w);
    if (slave < 0)
        return slave;
    int r = take_terminal(w, slave);
    return r < 0 ? r : cover_console(w, slave);
}

/* tty: a terminal for an exec session, without /dev/console.
 * Why:   each exec -t is a terminal of its own; /dev/console stays the container's.
 * Order: behind `setns` into the container's mounts: the devpts is the container's, and is checked as such,
 *        because processes are already running there that may have moved things.
 * See:   pty(7), setns(2).   Look: ls /proc/PID/root/dev/pts */
int step_tty(struct walk *w, const struct plan_step *s)
{
    (void)s;
    CLEANUP_FD int slave = open_pair(w);
    return slave < 0 ? slave : take_terminal(w, slave);
}
