/* steps_exec.c: the last steps: limits, signals, working directory, fds, and the program itself.
 *
 * What a process passes on through execve(2) is a short list: ids and capabilities (steps_identity.c), namespaces, limits,
 * the signal mask and what is ignored, nice value and CPU affinity, umask, working directory, open fds.
 * Each of them is the daemon's until a step here sets it. CPython ignores SIGPIPE; inherited, that would
 * make `yes | head` hang in every container.
 *
 * Serves: the end of every plan. Read next: execve(2) "Effect on process attributes". */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "path.h"
#include "step.h"
#include "sys.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const struct limit_name {
    const char *name;
    __rlimit_resource_t resource;
} limits[] = {
    {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},
    {"cpu", RLIMIT_CPU},         {"data", RLIMIT_DATA},
    {"fsize", RLIMIT_FSIZE},     {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE},
    {"nice", RLIMIT_NICE},       {"nofile", RLIMIT_NOFILE},
    {"nproc", RLIMIT_NPROC},     {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},
    {"stack", RLIMIT_STACK},     {"sigpending", RLIMIT_SIGPENDING},
};

/* RLIM_INFINITY is 2^64-1 and is only ever written as a word. */
static int parse_limit(struct walk *w, const struct plan_field *f, rlim_t *limit)
{
    uint64_t value;
    if (strcmp(f->text, "unlimited") == 0) {
        *limit = RLIM_INFINITY;
        return 0;
    }
    int r = step_number(w, f, RLIM_INFINITY - 1, &value);
    if (r == 0)
        *limit = value;
    return r;
}

/* rlimit: --ulimit, a limit per process.
 * Why:   the container would have the daemon's limits, which are a server's.
 * Order: while still root: raising a hard limit needs CAP_SYS_RESOURCE (EPERM tells that it is missing). Behind the
 *        steps that open files (`workdir`): the program is to have as few as it was given, and not fail to start.
 * See:   setrlimit(2).   Look: cat /proc/PID/limits */
int step_rlimit(struct walk *w, const struct plan_step *s)
{
    struct rlimit value;
    int r = parse_limit(w, &s->field[1], &value.rlim_cur);
    if (r == 0)
        r = parse_limit(w, &s->field[2], &value.rlim_max);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_LENGTH(limits); i++) {
        if (strcmp(limits[i].name, s->field[0].text) != 0)
            continue;
        if (setrlimit(limits[i].resource, &value) < 0)
            return step_fail(w, errno, "%s %s:%s", s->field[0].text, s->field[1].text, s->field[2].text);
        return 0;
    }
    return step_fail(w, EINVAL, "unknown limit: %s", s->field[0].text);
}

/* A cpuset of the container's cgroup still narrows this; a kernel without the call keeps what it has. */
static void use_all_cpus(void)
{
    unsigned char all[1024];
    memset(all, 0xff, sizeof(all));
    syscall(SYS_sched_setaffinity, 0, sizeof(all), all);
}

/* signals: everything as a fresh login would have it.
 * Why:   ignored signals, the mask, nice and CPU affinity pass through execve: a daemon under taskset or nohup
 *        would hand them to every container.
 * Order: before `seccomp`, whose filter need not allow what this does; `init`, later, blocks signals around its fork and
 *        gives back this state. The raw call, because the C library hides signals 32 and 33.
 * See:   signal(7), sigprocmask(2), umask(2).   Look: grep -E 'Sig(Ign|Blk)|Umask' /proc/PID/status */
int step_signals(struct walk *w, const struct plan_step *s)
{
    (void)w;
    (void)s;
    unsigned long default_action[8] = {
        0}; /* the kernel's sigaction: handler, flags, restorer, mask; all zero = SIG_DFL */
    unsigned long empty_mask = 0;
    for (int sig = 1; sig <= 64; sig++)
        syscall(SYS_rt_sigaction, sig, default_action, NULL, 8);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &empty_mask, NULL, 8);
    setpriority(PRIO_PROCESS, 0, 0);
    use_all_cpus();
    umask(022);
    return 0;
}

/* workdir: the working directory, made if the image doesn't have it. With "existing", as exec wants it, it must be there.
 * Why:   WORKDIR of the image, or -w.
 * Order: behind pivot_root (or setns), before `user`: it may have to be made, and may be root's.
 *        CVE-2024-21626: a working directory of /proc/self/fd/N was a way out over a leaked fd. The in-root lookup
 *        refuses magic links, and the kernel itself says where we are: "(unreachable)" is outside.
 * See:   chdir(2), getcwd(3) NOTES, openat2(2).   Look: readlink /proc/PID/cwd */
int step_workdir(struct walk *w, const struct plan_step *s)
{
    const char *path = s->field[0].text;
    char cwd[PATH_MAX];
    int root = walk_root(w);
    if (root < 0)
        return root;
    if (path[0] != '/')
        return step_fail(w, EINVAL, "not an absolute path: %s", path);
    if (s->nfields == 2 && strcmp(s->field[1].text, "existing") != 0)
        return step_fail(w, EINVAL, "neither nothing nor existing: %s", s->field[1].text);
    CLEANUP_FD int fd =
        s->nfields == 2 ? path_open(root, path, O_PATH | O_DIRECTORY, 0) : path_make_dirs(root, path, NULL);
    if (fd < 0)
        return step_fail(w, -fd, "%s", path);
    if (fchdir(fd) < 0)
        return step_errno(w, path);
    if (syscall(SYS_getcwd, cwd, sizeof(cwd)) < 0)
        return step_errno(w, path);
    return cwd[0] == '/' ? 0 : step_fail(w, EPERM, "%s is outside of the container", path);
}

/* close_range(2): every fd above 2 closes at execve.
 * Why:   one forgotten host directory fd in the container is the whole host (CVE-2024-21626, CVE-2016-9962). All of ours
 *        are close-on-exec already; this is for those that nobody knows of.
 * Order: before `seccomp`, like `signals`; nothing is opened behind it. Close-on-exec and not closed at once: the report
 *        socket must live until execve.
 * See:   close_range(2).   Look: ls -l /proc/PID/fd */
int step_close_fds(struct walk *w, const struct plan_step *s)
{
    (void)s;
    return sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0 ? step_errno(w, "close_range") : 0;
}

/* The PATH of the environment that the program will have, not ours. */
static const char *search_path(char *const *env)
{
    for (; *env != NULL; env++) {
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    }
    return DEFAULT_PATH;
}

/* Does this failure of one candidate mean "look in the next directory"? As execvp(3). */
static bool search_goes_on(int error)
{
    return error == ENOENT || error == ENOTDIR || error == EACCES || error == ELOOP || error == ENAMETOOLONG;
}

/* Tries NAME in each directory of PATH. Returns the errno to report. */
static int exec_by_path(const char *name, char *const *args, char *const *env)
{
    bool denied = false;
    const char *at = search_path(env);
    for (;;) {
        char candidate[PATH_MAX];
        int length = (int)strcspn(at, ":");
        int n = snprintf(candidate, sizeof(candidate), "%.*s%s%s", length, at, length > 0 ? "/" : "./", name);
        if (n > 0 && (size_t)n < sizeof(candidate)) {
            execve(candidate, args, env);
            denied = denied || errno == EACCES;
            if (!search_goes_on(errno))
                return errno;
        }
        if (at[length] == '\0')
            return denied ? EACCES : ENOENT;
        at += length + 1;
    }
}

/* The fields are C strings already: only the arrays of pointers are made. */
static char **pointers(const struct plan_field *f, uint32_t count)
{
    char **list = calloc((size_t)count + 1, sizeof(*list));
    for (uint32_t i = 0; list != NULL && i < count; i++)
        list[i] = (char *)(uintptr_t)f[i].text;
    return list;
}

/* execve(2): become the program.
 * Why:   everything before was for this. On success there is no return: the report socket closes (close-on-exec),
 *        and the monitor reads its EOF as "started".
 * Order: last. The search runs inside, with the container's own PATH, and as the container's user.
 *        ENOENT becomes exit code 127, everything else 126: found, but not to be run (a directory: EACCES).
 * See:   execve(2), environ(7), POSIX "Command Search and Execution".   Look: tr '\0' ' ' </proc/PID/cmdline */
int step_execve(struct walk *w, const struct plan_step *s)
{
    uint64_t nargs;
    int r = step_number(w, &s->field[0], s->nfields - 1, &nargs);
    if (r < 0)
        return r;
    const struct plan_field *arg0 = &s->field[1];
    if (nargs == 0 || arg0->size == 0)
        return step_fail(w, nargs == 0 ? EINVAL : ENOENT, "%s", arg0->text);
    CLEANUP_FREE char **args = pointers(arg0, (uint32_t)nargs);
    CLEANUP_FREE char **env = pointers(arg0 + nargs, s->nfields - 1 - (uint32_t)nargs);
    if (args == NULL || env == NULL)
        return step_errno(w, arg0->text);
    if (strchr(arg0->text, '/') != NULL) {
        execve(arg0->text, args, env);
        return step_errno(w, arg0->text);
    }
    return step_fail(w, exec_by_path(arg0->text, args, env), "%s", arg0->text);
}
