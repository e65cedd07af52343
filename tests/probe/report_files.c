/* report_files.c: the report's part on files: mounts, /dev, masked paths, paths that must not be writable.
 * Read next: report_kernel.c. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* A line of mountinfo: "36 35 98:0 /root /target rw,noatime shared:1 - ext4 /dev/root rw". See proc(5). */
static void mount_line(char *line)
{
    char *optional = NULL, *rest = strstr(line, " - "), *save = NULL;
    static const char *const before[] = {"id", "parent", "device", "root", "target", "options"};
    static const char *const after[] = {"fstype", "source", "super"};

    if (!rest)
        return;
    *rest = '\0';
    json_open('{');
    char *word = strtok_r(line, " ", &save);
    for (size_t i = 0; i < 6 && word; i++, word = strtok_r(NULL, " ", &save))
        json_pair(before[i], word);
    optional = word;
    json_pair("propagation", optional ? optional : "");
    word = strtok_r(rest + 3, " ", &save);
    for (size_t i = 0; i < 3 && word; i++, word = strtok_r(NULL, " ", &save))
        json_pair(after[i], word);
    json_close('}');
}

static void mounts(void)
{
    static char text[1 << 18];
    char *save = NULL;

    read_file("/proc/self/mountinfo", text, sizeof text);
    json_key("mounts");
    json_open('[');
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        mount_line(line);
    json_close(']');
}

/* "c 1:3 0666", "link pts/ptmx", "dir 1777", "file 0644" */
static void describe(const char *directory, const char *name)
{
    char path[512], text[512];
    struct stat status;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (lstat(path, &status) < 0)
        return;
    unsigned mode = status.st_mode & 07777;
    if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
        snprintf(text, sizeof text, "%c %u:%u %04o", S_ISCHR(status.st_mode) ? 'c' : 'b', major(status.st_rdev),
                 minor(status.st_rdev), mode);
    } else if (S_ISLNK(status.st_mode)) {
        memcpy(text, "link ", 5);
        ssize_t n = readlink(path, text + 5, sizeof text - 6);
        text[n < 0 ? 5 : n + 5] = '\0';
    } else {
        snprintf(text, sizeof text, "%s %04o", S_ISDIR(status.st_mode) ? "dir" : "file", mode);
    }
    json_pair(name, text);
}

static void dev(void)
{
    json_key("dev");
    json_open('{');
    each_entry("/dev", describe);
    json_close('}');
}

/* What can be learned through a path: "missing", the bytes that a file gives (4095 at most), a directory's entries. */
static void masked_path(const char *path)
{
    char text[4096];
    struct stat status;

    json_key(path);
    if (stat(path, &status) < 0) {
        json_text("missing");
        return;
    }
    json_open('{');
    json_pair("kind", S_ISDIR(status.st_mode) ? "dir" : S_ISCHR(status.st_mode) ? "device" : "file");
    long n = S_ISDIR(status.st_mode) ? each_entry(path, NULL) : read_file(path, text, sizeof text);
    json_key("found");
    if (n < 0)
        json_errno((int)-n);
    else
        json_number(n);
    json_close('}');
}

static void masked(void)
{
    static const char *const paths[] = {"/proc/acpi",
                                        "/proc/asound",
                                        "/proc/interrupts",
                                        "/proc/kcore",
                                        "/proc/keys",
                                        "/proc/latency_stats",
                                        "/proc/sched_debug",
                                        "/proc/scsi",
                                        "/proc/timer_list",
                                        "/proc/timer_stats",
                                        "/sys/firmware",
                                        "/sys/devices/virtual/powercap",
                                        "/proc/self/status", /* the control: something that is not masked */
                                        "/sys/devices/system/cpu/cpu0/thermal_throttle"};

    json_key("masked");
    json_open('{');
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        masked_path(paths[i]);
    json_close('}');
}

/* Tries to open existing files for writing, and to make one; what opened is closed again, unwritten. */
static void writable_path(const char *path, int flags)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);

    json_key(path);
    json_errno(fd < 0 ? errno : 0);
    if (fd >= 0)
        close(fd);
    if (fd >= 0 && flags & O_CREAT)
        unlink(path);
}

static void writable(void)
{
    static const char *const old[] = {"/proc/sys/kernel/panic", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity",
                                      "/sys/kernel/profiling", "/proc/self/oom_score_adj"};
    static const char *const fresh[] = {"/.probe", "/dev/.probe", "/dev/shm/.probe", "/tmp/.probe",
                                        "/sys/fs/cgroup/.probe"};

    json_key("writable");
    json_open('{');
    for (size_t i = 0; i < sizeof old / sizeof *old; i++)
        writable_path(old[i], 0);
    for (size_t i = 0; i < sizeof fresh / sizeof *fresh; i++)
        writable_path(fresh[i], O_CREAT | O_EXCL);
    json_close('}');
}

void report_files(void)
{
    mounts();
    dev();
    masked();
    writable();
}
