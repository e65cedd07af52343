/* steps_mount.c: furnishing the root: new file systems (`mount`) and host directories (`tree`, `bind`).
 *
 * Both make a detached mount first, an fd that is attached nowhere, and then move it onto the target's fd with
 * move_mount(2). No path is looked up between the check of a target and its use, so nobody can swap a
 * directory for a symlink in between, which is how CVE-2021-30465 mounted over the host.
 *
 * /proc is special: masks, sysctls and LSM labels trust it. Only a procfs may be mounted there, the
 * directory may not be a symlink, and only a few files may be bound over what is inside.
 *
 * Serves: the middle of a start's plan. Read next: path.c, steps_mask.c, mount_namespaces(7). */
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "idmap.h"
#include "mountflags.h"
#include "path.h"
#include "step.h"
#include "sys.h"

/* What may be bound over in /proc: the files that lxcfs and the OCI runtimes replace. As runc has it. */
static const char *const proc_exceptions[] = {
    "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo",  "/proc/stat",    "/proc/swaps",
    "/proc/uptime",  "/proc/loadavg",   "/proc/slabinfo", "/proc/net/dev", "/proc/sys/kernel/ns_last_pid",
};

/* Device and inode say what a path is; its text does not. */
static bool same_file(int a, int b)
{
    struct stat sa, sb;
    return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static bool may_cover_proc(const char *target)
{
    for (size_t i = 0; i < ARRAY_LENGTH(proc_exceptions); i++) {
        if (strcmp(proc_exceptions[i], target) == 0)
            return true;
    }
    return false;
}

/* "/proc" and "/sys" themselves: a directory in the root itself, never a link to somewhere that the image chose
 * (CVE-2019-19921: masks and labels would then be written to the image's own files). */
static int open_plain(struct walk *w, const char *target)
{
    int fd = path_open(w->root_fd, target, O_PATH | O_DIRECTORY | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
    if (fd == -ENOENT) {
        if (mkdirat(w->root_fd, target + 1, 0755) < 0)
            return step_errno(w, target);
        fd = path_open(w->root_fd, target, O_PATH | O_DIRECTORY | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
    }
    if (fd == -ELOOP || fd == -ENOTDIR)
        return step_fail(w, -fd, "%s in the image is not a plain directory", target);
    return fd < 0 ? step_fail(w, -fd, "%s", target) : fd;
}

/* Opens, and makes where missing, the place to mount on. */
static int open_target(struct walk *w, const char *target, bool directory)
{
    int root = walk_root(w);
    if (root < 0)
        return root;
    if (!w->is_private)
        return step_fail(w, EINVAL, "mounts still propagate to the host: `private` must come first");
    if (strcmp(target, "/proc") == 0 || strcmp(target, "/sys") == 0)
        return open_plain(w, target);
    CLEANUP_FD int fd = path_mount_point(root, target, directory);
    if (fd < 0)
        return step_fail(w, -fd, "%s", target);
    if (same_file(fd, root))
        return step_fail(w, EINVAL, "%s is the root itself", target);
    if (on_filesystem(fd, PROC_SUPER_MAGIC) && !may_cover_proc(target))
        return step_fail(w, EPERM, "%s lies in /proc, where nothing may be mounted", target);
    return steal_fd(&fd);
}

static int parse_flags(struct walk *w, const struct plan_field *f, struct mount_flags *flags)
{
    char bad[32];
    return parse_mount_flags(f->text, flags, bad) == 0 ? 0 : step_fail(w, EINVAL, "unknown mount flag: %s", bad);
}

/* fsconfig(2) for each "key=value" or "key". The kernel's own words, if any, become the detail. */
static int configure(struct walk *w, int fs, const char *fstype, const char *options)
{
    char option[512], message[160];
    int r;
    if (strncmp(options, "source=", 7) != 0 && strstr(options, ",source=") == NULL)
        sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", fstype); /* the first column of /proc/mounts */
    while ((r = next_item(&options, option, sizeof(option))) > 0) {
        char *value = strchr(option, '=');
        if (value != NULL)
            *value++ = '\0';
        if (sys_fsconfig(fs, value != NULL ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, option, value) < 0) {
            int error = errno;
            ssize_t n = read(fs, message, sizeof(message) - 1);
            message[n > 0 ? n : 0] = '\0';
            return step_fail(w, error, "%s option %s %s", fstype, option, message);
        }
    }
    return r == 0 ? 0 : step_fail(w, EINVAL, "malformed options for %s", fstype);
}

/* fsopen, fsconfig, fsmount: a file system that is attached nowhere yet. What it shows is fixed here: a procfs this
 * pid namespace, a sysfs this network namespace, an mqueue this ipc namespace. */
static int new_filesystem(struct walk *w, const char *fstype, const char *options, uint64_t attrs)
{
    CLEANUP_FD int fs = sys_fsopen(fstype);
    if (fs < 0)
        return step_errno(w, fstype);
    int r = configure(w, fs, fstype, options);
    if (r < 0)
        return r;
    if (sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        return step_errno(w, fstype);
    int mount = sys_fsmount(fs, (unsigned)attrs);
    return mount < 0 ? step_errno(w, fstype) : mount;
}

/* mount: a new file system: proc, sysfs, tmpfs for /dev, devpts, mqueue, cgroup2.
 * Why:   each shows what the namespaces below it hold: /proc this pid namespace, /sys this network, devpts our own
 *        terminals. nosuid, nodev and noexec, because none of them is a place for programs.
 * Order: behind overlay, in the plan's order (what lies on /dev comes after /dev), before the masks.
 *        The fd of a procfs is kept: sysctls are written through it and not through a path.
 * See:   fsopen(2) as in mount_setattr(2), proc(5), OCI runtime spec "mounts".   Look: cat /proc/PID/mountinfo */
int step_mount(struct walk *w, const struct plan_step *s)
{
    const char *fstype = s->field[0].text, *target = s->field[1].text;
    bool proc = strcmp(fstype, "proc") == 0;
    struct mount_flags flags;
    int r = parse_flags(w, &s->field[2], &flags);
    if (r < 0)
        return r;
    if (!proc && strcmp(target, "/proc") == 0)
        return step_fail(w, EPERM, "only a procfs may be mounted on /proc, not %s", fstype);
    CLEANUP_FD int place = open_target(w, target, true);
    if (place < 0)
        return place;
    CLEANUP_FD int mount = new_filesystem(w, fstype, s->field[3].text, flags.set);
    if (mount < 0)
        return mount;
    if (sys_move_mount(mount, place) < 0)
        return step_errno(w, target);
    if (proc && w->proc_fd < 0 && on_filesystem(mount, PROC_SUPER_MAGIC))
        w->proc_fd = steal_fd(&mount);
    return 0;
}

/* Flags on a detached mount, before anybody can see it. The default is rprivate, as Docker's. */
static int set_bind_flags(struct walk *w, int tree, const struct mount_flags *flags, const char *source)
{
    struct sys_mount_attr attr = {.attr_set = flags->set, .attr_clr = flags->clear};
    struct sys_mount_attr propagation = {.propagation = flags->propagation != 0 ? flags->propagation : MS_PRIVATE};
    unsigned below = flags->recursive ? AT_RECURSIVE : 0;
    unsigned propagate_below = flags->propagation_recursive || flags->propagation == 0 ? AT_RECURSIVE : 0;
    if ((attr.attr_set | attr.attr_clr) != 0 && sys_mount_setattr(tree, AT_EMPTY_PATH | below, &attr) < 0)
        return step_errno(w, source);
    if (sys_mount_setattr(tree, AT_EMPTY_PATH | propagate_below, &propagation) < 0)
        return step_errno(w, source);
    return 0;
}

/* A detached copy of SOURCE (and BELOW it) with its flags: an fd. */
static int open_source(struct walk *w, const char *source, const struct plan_field *list, const char *below)
{
    struct mount_flags flags;
    int r = parse_flags(w, list, &flags);
    if (r < 0)
        return r;
    if (w->pivoted)
        return step_fail(w, EINVAL, "%s: host paths are out of reach here", source);
    CLEANUP_FD int tree = path_clone(source, below, flags.recursive ? AT_RECURSIVE : 0);
    if (tree < 0)
        return step_fail(w, -tree, "%s%s%s", source, below[0] != '\0' ? ", in it " : "", below);
    r = set_bind_flags(w, tree, &flags, source);
    return r < 0 ? r : steal_fd(&tree);
}

/* tree: opens a file or directory of the host for a `bind` that comes when host paths are out of reach: its SOURCE is
 *        then tree:N, the N-th. With a fourth field, an fd of a user namespace, its owners are shifted, as the layers' are.
 * Why:   the root of a user namespace may not even look into the data root. So the host's root opens what it is to get,
 *        and nothing has to be made readable for the world.
 * Order: before `userns`, which locks the flags that are set here.
 * See:   open_tree(2), mount_setattr(2) "ID-mapped mounts".   Look: cat /proc/PID/mountinfo (idmapped) */
int step_tree(struct walk *w, const struct plan_step *s)
{
    const char *source = s->field[0].text;
    int userns = -1, r = 0;
    if (w->trees == NULL)
        w->trees = calloc(w->plan->nsteps, sizeof(*w->trees));
    if (w->trees == NULL)
        return step_errno(w, source);
    CLEANUP_FD int tree = open_source(w, source, &s->field[1], s->nfields > 2 ? s->field[2].text : "");
    if (tree < 0)
        return tree;
    if (s->nfields > 3)
        r = parse_extra_fd(w, &s->field[3], &userns);
    if (r == 0 && userns >= 0 && (r = idmap_tree(tree, userns)) < 0)
        r = step_fail(w, -r, "%s with shifted ids", source);
    if (r == 0)
        w->trees[w->ntrees++] = steal_fd(&tree);
    return r;
}

/* A detached copy of "tree:N", from the shelf. */
static int take_tree(struct walk *w, const char *source)
{
    const char *name = source + strlen("tree:");
    uint64_t number;
    int r = parse_number(name, UINT32_MAX, &number);
    if (r < 0 || number >= w->ntrees || w->shelf_fd < 0)
        return step_fail(w, EINVAL, "%s: no `tree` step opened it", source);
    int tree = sys_open_tree_clone(w->shelf_fd, name, AT_RECURSIVE);
    return tree < 0 ? step_errno(w, source) : tree;
}

/* bind: a file or directory of the host in the container: volumes, /etc/hosts, -v. A fourth field names what of
 *        the source is meant; whoever fills a volume may have put a link there, so it can lead nowhere else.
 * Why:   open_tree(2) clones the mount as an fd, so that "read-only" is set before it is attached: with the
 *        old MS_BIND and MS_REMOUNT pair there is a moment in which the container could write.
 * Order: before pivot_root (the source is a host path), behind overlay and behind what it covers.
 * See:   open_tree(2), mount_setattr(2), mount_namespaces(7).   Look: findmnt -N PID */
int step_bind(struct walk *w, const struct plan_step *s)
{
    const char *source = s->field[0].text, *target = s->field[1].text;
    const char *below = s->nfields > 3 ? s->field[3].text : "";
    bool opened = strncmp(source, "tree:", strlen("tree:")) == 0;
    CLEANUP_FD int tree = opened ? take_tree(w, source) : open_source(w, source, &s->field[2], below);
    if (tree < 0)
        return tree;
    if (strcmp(target, "/proc") == 0 && !on_filesystem(tree, PROC_SUPER_MAGIC))
        return step_fail(w, EPERM, "only a procfs may be mounted on /proc, not %s", source);
    CLEANUP_FD int place = open_target(w, target, is_directory(tree));
    if (place < 0)
        return place;
    return sys_move_mount(tree, place) < 0 ? step_errno(w, target) : 0;
}

/* A detached copy of `path` as the process behind `pidfd` has it, and back home again. The path is resolved in its root
 * and without magic links: it may have put a link to one of our fds there, which the kernel would not clone either. */
static int clone_elsewhere(struct walk *w, int pidfd, const char *path)
{
    CLEANUP_FD int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (home < 0)
        return step_errno(w, "/proc/self/ns/mnt");
    if (setns(pidfd, CLONE_NEWNS) < 0)
        return step_errno(w, "the donor's mount namespace");
    CLEANUP_FD int tree = path_clone("/", path, 0);
    if (setns(home, CLONE_NEWNS) < 0)
        return step_errno(w, "the way back from the donor's mount namespace");
    return tree < 0 ? step_fail(w, -tree, "%s of the donor", path) : steal_fd(&tree);
}

/* borrow: a mount of another container's, at the same place: /dev/shm for --ipc container:NAME.
 * Why:   shared memory by name lives in files of /dev/shm, that by key in the ipc namespace; who shares the one means the
 *        other. No path of the host leads to the donor's tmpfs, so the clone is made where it is seen: an fd can cross.
 * Order: as bind; with the donor's ipc namespace joined before. Descriptors of ours are out of the donor's reach there: the
 *        process is not dumpable and not in its pid namespace.
 * See:   open_tree(2), setns(2), shm_overview(7).   Look: grep shm /proc/PID/mountinfo of both: one device number */
int step_borrow(struct walk *w, const struct plan_step *s)
{
    const char *path = s->field[1].text;
    struct mount_flags flags = {0};
    int pidfd = -1;
    int r = parse_extra_fd(w, &s->field[0], &pidfd);
    if (r < 0)
        return r;
    if (w->pivoted)
        return step_fail(w, EINVAL, "%s: this is the container's own view already", path);
    CLEANUP_FD int place = open_target(w, path, true);
    if (place < 0)
        return place;
    CLEANUP_FD int tree = clone_elsewhere(w, pidfd, path);
    if (tree < 0)
        return tree;
    r = set_bind_flags(w, tree, &flags, path);
    if (r < 0)
        return r;
    return sys_move_mount(tree, place) < 0 ? step_errno(w, path) : 0;
}
