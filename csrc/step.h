/* step.h: what a step function is given, and how it reports.
 *
 * A step function is `int step_<kind>(struct walk *w, const struct plan_step *s)`. It returns 0, or
 * -errno through step_fail() or step_errno(), which leave the path or argument concerned where the
 * daemon finds it. The number of fields was checked against steps.def before anything ran.
 *
 * struct walk is the little that steps hand to later steps: the rootfs, the fresh procfs, the stdio
 * ends. It lives in the monitor until clone3, and as the child's own copy from there on.
 *
 * Read next: steps.def (the list), walk.c (the loop), then any steps_*.c. */
#ifndef MINIDOCK_STEP_H
#define MINIDOCK_STEP_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "launch.h"
#include "plan.h"
#include "util.h"

struct walk {
    struct launch *launch; /* the monitor's steps fill it */
    const struct plan *plan;
    char *detail;       /* DETAIL_SIZE bytes, shared with the monitor */
    int child_stdio[3]; /* the ends that become the child's fds 0 to 2; -1: /dev/null */
    int report_fd;      /* the child's end of the report socket: its EOF means execve, or death */
    int root_fd;        /* O_PATH: where paths in the container start; -1: not known yet */
    int *trees;         /* what `tree` steps opened */
    uint32_t ntrees;
    int shelf_fd;       /* a directory with the trees as "0", "1" and so on, for `bind`; -1: none yet */
    int proc_fd;        /* the root of a procfs that this walk made itself; -1: none yet */
    int null_fd;        /* O_PATH: a checked /dev/null of the container; -1: none yet */
    int empty_fd;       /* an attached, empty, read-only tmpfs to mask directories with; -1: none yet */
    uint64_t entered;   /* CLONE_NEW*: the namespaces that are not the monitor's */
    bool is_private;    /* mounts no longer propagate to the host */
    bool root_detached; /* root_fd is a mount that is attached nowhere yet; `userns` does it */
    bool root_readonly; /* `rootfs` asked for it; pivot_root does it */
    bool pivoted;       /* host paths are out of reach */
    /* The AppArmor profile that execve will bring; NULL: none. */
    const char *apparmor;
};

/* Walks steps [from, to). Stops at the first that fails, notes it in the shared page, returns -1. */
int walk_steps(struct walk *w, uint32_t from, uint32_t to);

/* Leaves "what failed" for the daemon and returns -error. The text names the path or argument, and
 * adds a reason only where the errno says too little. */
int step_fail(struct walk *w, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same for a system call that has just failed on a path: -errno. */
int step_errno(struct walk *w, const char *path);

/* Arguments as numbers; the failure names the argument. */
int step_number(struct walk *w, const struct plan_field *f, uint64_t max, uint64_t *value);
int step_id(struct walk *w, const struct plan_field *f, uint32_t *id);
int step_hex(struct walk *w, const struct plan_field *f, uint64_t *value);

/* The container's root as an O_PATH fd that stays the walk's: the overlay's, or "/" in a plan that
 * joined the container's mount namespace. -errno with the reason left. */
int walk_root(struct walk *w);

/* A checked /dev/null of the container (never a look-alike that the image brought), O_PATH. */
int walk_null(struct walk *w);

/* The root of a procfs of the child's own pid namespace, never one that was found by a path. */
int walk_proc(struct walk *w);

/* Replaces a host's /dev/null on fds 0 to 2 by the container's own. */
int adopt_null(struct walk *w);

/* "fd:N" as the fd that the daemon gave at spawn. */
int parse_extra_fd(struct walk *w, const struct plan_field *f, int *fd);

/* Parses a list such as "mnt,pid" into CLONE_NEW* flags. */
int parse_namespaces(struct walk *w, const struct plan_field *f, uint64_t *flags);

/* Takes on the profile of the `apparmor` step now, where there was one, instead of at execve. */
void confine_now(struct walk *w);

/* Makes the fork of the `init` step the reaper; does not return. */
_Noreturn void reaper_run(pid_t child);

#define STEP(kind, min, max, side, binary) int step_##kind(struct walk *w, const struct plan_step *s);
#include "steps.def"
#undef STEP

#endif
