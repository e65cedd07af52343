/* steps_identity.c: who the program is and what it may do: keyring, capabilities, seccomp, user.
 *
 * Root's power is cut into capabilities(7); a container's root keeps 14 harmless ones of 41. A process has five sets of
 * them; what execve(2) gives the program follows from them, so each is set here and none is left to chance:
 *
 *     bounding     the most that any execve may ever give        `bounding`
 *     permitted, effective    what the process has now           `capabilities`
 *     inheritable, ambient    would survive an execve as a user  always empty (CVE-2022-24769)
 *
 * The order of these steps is the plan's: with no_new_privs the filter comes last, without it before
 * the capabilities are dropped, because seccomp(2) wants one or the other.
 *
 * Serves: the end of every plan. Read next: minidock/runtime/plan.py, capabilities(7), seccomp(2). */
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "path.h"
#include "step.h"
#include "sys.h"

/* keyctl(2): a new, empty session keyring.
 * Why:   keys are not namespaced: without this the container would see and use those of whoever started the daemon.
 *        The kernel gives others no search right on it, so nobody joins it by guessing its name.
 * Order: before the user changes: the keyring belongs to who makes it. Full quota or no keys at all: tolerated.
 * See:   session-keyring(7), keyctl(2) KEYCTL_JOIN_SESSION_KEYRING.   Look: keyctl show; cat /proc/keys */
int step_keyring(struct walk *w, const struct plan_step *s)
{
    const char *name = s->field[0].text;
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) < 0 && errno != ENOSYS && errno != EDQUOT)
        return step_errno(w, name);
    return 0;
}

/* bounding: the ceiling over all that any program in the container can ever get.
 * Why:   a setuid-root program or file capabilities give at most what is in this set, for ever.
 * Order: before `user`: dropping needs CAP_SETPCAP. Ambient capabilities are cleared along with it.
 * See:   capabilities(7) "Capability bounding set", prctl(2).   Look: grep CapBnd /proc/PID/status */
int step_bounding(struct walk *w, const struct plan_step *s)
{
    uint64_t keep;
    int r = step_hex(w, &s->field[0], &keep);
    if (r < 0)
        return r;
    for (unsigned long cap = 0; cap < 64; cap++) {
        if (keep >> cap & 1)
            continue;
        int have = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (have < 0)
            break; /* past the last capability of this kernel */
        if (have == 1 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return step_fail(w, errno, "capability %lu", cap);
    }
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ? step_errno(w, "ambient") : 0;
}

/* no_new_privs: from here on execve(2) can only take rights away.
 * Why:   setuid and file capabilities stop working; also the licence for an unprivileged process to set a filter.
 * Order: before `seccomp` if the plan wants the filter as the last step. Can't be undone.
 * See:   prctl(2) PR_SET_NO_NEW_PRIVS.   Look: grep NoNewPrivs /proc/PID/status */
int step_no_new_privs(struct walk *w, const struct plan_step *s)
{
    (void)s;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? step_errno(w, "PR_SET_NO_NEW_PRIVS") : 0;
}

/* seccomp(2): a filter over every system call to come.
 * Why:   the kernel has some 360 calls, a container needs fewer; those it doesn't need (kexec_load, bpf, keyctl,
 *        AF_ALG sockets: CVE-2026-31431) are where escapes were found. The daemon compiles the filter (a tree: fast).
 * Order: as late as the plan can, because the steps behind it have to pass it, too. SPEC_ALLOW: without it older
 *        kernels slow every filtered process down to close a hole that lies elsewhere; as runc does.
 * See:   seccomp(2), Documentation/userspace-api/seccomp_filter.rst.   Look: grep Seccomp /proc/PID/status */
int step_seccomp(struct walk *w, const struct plan_step *s)
{
    const struct plan_field *code = &s->field[0];
    size_t count = code->size / sizeof(struct sock_filter);
    if (count == 0 || code->size % sizeof(struct sock_filter) != 0 || count > BPF_MAXINSNS)
        return step_fail(w, EINVAL, "the filter is not a list of 1 to %d instructions", BPF_MAXINSNS);
    struct sock_fprog program = {.len = (unsigned short)count, .filter = (void *)(uintptr_t)code->text};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) < 0)
        return step_fail(w, errno, "filter of %zu instructions", count);
    return 0;
}

static int parse_groups(struct walk *w, const struct plan_field *f, gid_t **groups, size_t *count)
{
    struct plan_field item;
    char text[16];
    const char *rest = f->text;
    int r;
    *groups = calloc(f->size / 2 + 1, sizeof(gid_t)); /* "1,2,3": two bytes a group */
    if (*groups == NULL)
        return step_errno(w, "groups");
    for (*count = 0; (r = next_item(&rest, text, sizeof(text))) > 0; (*count)++) {
        item.text = text;
        r = step_id(w, &item, &(*groups)[*count]);
        if (r < 0)
            return r;
    }
    return r == 0 ? 0 : step_fail(w, EINVAL, "malformed list of groups: %s", f->text);
}

/* The pipes and the pty were made by root; a program that is not root could not reopen /dev/stdout. The null
 * device is left alone: it is everybody's. */
static int give_stdio(struct walk *w, uid_t uid)
{
    for (int fd = 0; fd < 3; fd++) {
        struct stat st;
        if (fstat(fd, &st) < 0 || st.st_uid == uid || is_device(fd, 1, 3))
            continue;
        if (fchown(fd, uid, (gid_t)-1) < 0 && errno != EROFS && errno != EPERM)
            return step_fail(w, errno, "owner of fd %d", fd);
    }
    return 0;
}

/* user: groups first, then gid, then uid.
 * Why:   setgroups(2) replaces the daemon's own groups, which would give root's group rights away (CVE-2022-36109:
 *        the list is complete, primary group included, and may be empty). All three ids are set, so none can be taken back.
 * Order: groups, gid, uid: each needs what the next one takes away. keepcaps lets `capabilities` still choose
 *        what a user other than root has; execve clears it. Behind `bounding` and `keyring`.
 *        The changed ids clear the parent-death signal and might make the process dumpable: both are set anew.
 * See:   setresuid(2), setgroups(2), credentials(7).   Look: grep -E 'Uid|Gid|Groups' /proc/PID/status */
int step_user(struct walk *w, const struct plan_step *s)
{
    CLEANUP_FREE gid_t *groups = NULL;
    size_t count = 0;
    uint32_t uid = 0, gid = 0;
    int r = step_id(w, &s->field[0], &uid);
    if (r == 0)
        r = step_id(w, &s->field[1], &gid);
    if (r == 0)
        r = parse_groups(w, &s->field[2], &groups, &count);
    if (r == 0)
        r = give_stdio(w, uid);
    if (r < 0)
        return r;
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(count, groups) < 0)
        return step_fail(w, errno, "groups %s", s->field[2].text);
    if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return step_fail(w, errno, "uid %u, gid %u", uid, gid);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    return 0;
}

/* capabilities: the sets that the program starts with.
 * Why:   together with `bounding`: nothing that was not asked for is left. Inheritable and ambient are empty,
 *        always, in every path: start, exec, exec -u, exec --privileged (CVE-2022-29162, CVE-2022-27650).
 * Order: behind `user`, and behind everything that needs a right the container doesn't get.
 * See:   capset(2), capabilities(7).   Look: grep Cap /proc/PID/status; capsh --decode=HEX */
int step_capabilities(struct walk *w, const struct plan_step *s)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    uint64_t permitted = 0, effective = 0;
    int r = step_hex(w, &s->field[0], &permitted);
    if (r == 0)
        r = step_hex(w, &s->field[1], &effective);
    if (r < 0)
        return r;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        sets[i].permitted = (uint32_t)(permitted >> (32 * i));
        sets[i].effective = (uint32_t)(effective >> (32 * i));
    }
    if (syscall(SYS_capset, &header, sets) < 0)
        return step_fail(w, errno, "permitted %s, effective %s", s->field[0].text, s->field[1].text);
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ? step_errno(w, "ambient") : 0;
}
