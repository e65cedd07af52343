/* steps_proc.c: settings that are written to /proc: sysctls, the OOM score, the AppArmor profile.
 *
 * A write to /proc is a write to the kernel, so it matters which file gets it. An image that has /proc/sys/net/…
 * as a link, or a volume on top of /proc, could turn "set ip_forward" into "write 1 to sysrq-trigger"
 * (CVE-2025-52881). Hence walk_proc(): a procfs that we made ourselves, held as an fd; no symlink and no
 * mount may lie on the way from there to the file.
 *
 * Serves: the middle of a start's plan. Read next: step.c (walk_proc), proc(5). */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "path.h"
#include "step.h"
#include "sys.h"

static int write_proc(struct walk *w, const char *path, const char *value)
{
    int proc = walk_proc(w);
    if (proc < 0)
        return proc;
    CLEANUP_FD int fd = path_open(proc, path, O_WRONLY, RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
    if (fd < 0)
        return step_fail(w, -fd, "/proc/%s", path);
    if (!on_filesystem(fd, PROC_SUPER_MAGIC))
        return step_fail(w, EINVAL, "/proc/%s is not on a procfs", path);
    /* One write: procfs takes a value whole or not at all. */
    if (write(fd, value, strlen(value)) != (ssize_t)strlen(value))
        return step_fail(w, errno, "/proc/%s = %s", path, value);
    return 0;
}

/* "net.ipv4.ip_forward" or "net/ipv4/ip_forward" as a path. As sysctl(8): the first separator decides, and where
 * it is a dot, a slash stands for a dot in a name (net.ipv4.conf.eth0/1). */
static void render_name(const char *name, char *path)
{
    size_t first = strcspn(name, "./");
    bool dotted = name[first] == '.';
    for (; *name != '\0'; name++, path++) {
        *path = *name;
        if (dotted && *name == '.')
            *path = '/';
        else if (dotted && *name == '/')
            *path = '.';
    }
    *path = '\0';
}

/* sysctl: a kernel setting of the container's own namespaces.
 * Why:   net.*, fs.mqueue.* and kernel.shm* are per namespace; --sysctl sets them. Which names are allowed is the
 *        daemon's decision (CVE-2022-0811); what is made sure of here is that the write goes to that very file.
 * Order: behind setns and clone3 (whose namespaces it changes), before `readonly` covers /proc/sys.
 * See:   sysctl(8), proc_sys(5).   Look: nsenter -t PID -n sysctl NAME */
int step_sysctl(struct walk *w, const struct plan_step *s)
{
    const struct plan_field *name = &s->field[0];
    char path[256] = "sys/";
    if (name->size == 0 || name->size > 200 || strstr(name->text, "..") != NULL || strchr("./", name->text[0]) != NULL)
        return step_fail(w, EINVAL, "not a sysctl name: %.200s", name->text);
    render_name(name->text, path + strlen(path));
    return write_proc(w, path, s->field[1].text);
}

/* oom_score_adj: how early the OOM killer takes this container.
 * Why:   a daemon that protects itself (OOMScoreAdjust= in its unit) would hand that on, and the container would outlive
 *        the host's own services. 0 is what nobody asked for: where it is lower than the daemon's own score and
 *        CAP_SYS_RESOURCE is missing, the daemon's stays.
 * Order: while still root and before the program runs; children inherit it.
 * See:   proc_pid_oom_score_adj(5).   Look: cat /proc/PID/oom_score_adj */
int step_oom_score_adj(struct walk *w, const struct plan_step *s)
{
    char path[64];
    int64_t score;
    int r = parse_signed(s->field[0].text, -1000, 1000, &score);
    if (r < 0)
        return step_fail(w, -r, "not a score of -1000 to 1000: %s", s->field[0].text);
    snprintf(path, sizeof(path), "%d/oom_score_adj", (int)getpid()); /* "self" would be a symlink */
    r = write_proc(w, path, s->field[0].text);
    return r == -EACCES && score == 0 ? 0 : r;
}

/* "exec NAME": the profile that the next execve(2) of this process brings; "changeprofile NAME": at once. */
static int ask_apparmor(struct walk *w, const char *file, const char *verb, const char *profile)
{
    char path[64], request[512];
    snprintf(path, sizeof(path), "%d/attr/apparmor/%s", (int)getpid(), file);
    if ((size_t)snprintf(request, sizeof(request), "%s %s", verb, profile) >= sizeof(request))
        return step_fail(w, ENAMETOOLONG, "profile %.100s…", profile);
    return write_proc(w, path, request);
}

/* apparmor: the profile that confines the program: minidock-default, or the one of --security-opt apparmor=NAME.
 * Why:   a second wall, by path and by operation: what capabilities, masks and seccomp let through by mistake is still
 *        refused (writing to /proc/sys, mounting, signals to processes outside).
 * Order: late, because it is asked for now and holds from execve on: no step of ours runs under it. Before `user`: the
 *        kernel wants the one who opened the file to be the one who writes (5.13), and before `init`, which forks.
 *        CVE-2019-16884: written through a procfs of our own, never a /proc that an image or volume put there.
 * See:   apparmor(7), proc_pid_attr(5).   Look: cat /proc/PID/attr/apparmor/current; aa-status */
int step_apparmor(struct walk *w, const struct plan_step *s)
{
    w->apparmor = s->field[0].text;
    return ask_apparmor(w, "exec", "exec", w->apparmor);
}

/* For pid 1 of --init, which never executes anything and has no use for fds 0 to 2: one of their numbers is the only one
 * that a low limit of open files leaves. Where a seccomp profile of one's own forbids it, pid 1 stays as the monitor is: it
 * has no rights that a profile could take, but programs that are confined can't signal it. */
void confine_now(struct walk *w)
{
    if (w->apparmor == NULL)
        return;
    sys_close_range(0, 2, 0);
    ask_apparmor(w, "current", "changeprofile", w->apparmor);
}
