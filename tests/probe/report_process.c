/* report_process.c: the report's part on the process itself: arguments, environment, place, descriptors, terminal,
 * signals, limits. Read next: report_identity.c. */
#include "probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

static void texts(const char *key, char **list)
{
    json_key(key);
    json_open('[');
    for (; *list; list++)
        json_text(*list);
    json_close(']');
}

static void place(void)
{
    char path[4096];
    struct utsname names;
    mode_t mask = umask(0);

    umask(mask);
    json_pair("cwd", getcwd(path, sizeof path) ? path : "?");
    snprintf(path, sizeof path, "%04o", (unsigned)mask);
    json_pair("umask", path);
    uname(&names);
    json_pair("hostname", names.nodename);
    json_pair("domainname", names.domainname);
    json_pair("kernel", names.release);
    json_pair_number("pid", getpid());
    json_pair_number("ppid", getppid());
    json_pair_number("sid", getsid(0));
    json_pair_number("pgid", getpgid(0));
}

/* /proc/self/fd without the descriptor that reads it. Reports what each is, and its flags where they matter. */
static void descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    char target[4096];

    json_key("fds");
    json_open('{');
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory))
            continue;
        ssize_t n = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = '\0';
        json_pair(entry->d_name, target);
    }
    json_close('}');
    if (directory)
        closedir(directory);
}

static void terminal(void)
{
    struct winsize size = {0};
    int fd;

    json_key("tty");
    json_open('[');
    for (fd = 0; fd < 3; fd++)
        json_bool(isatty(fd));
    json_close(']');
    ioctl(0, TIOCGWINSZ, &size);
    json_key("winsize");
    json_open('[');
    json_number(size.ws_row);
    json_number(size.ws_col);
    json_close(']');
    fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    json_key("controlling_tty");
    json_bool(fd >= 0);
    if (fd >= 0)
        close(fd);
}

static void limits(void)
{
    static const char *const names[] = {"cpu",      "fsize",  "data",    "stack", "core",  "rss",
                                        "nproc",    "nofile", "memlock", "as",    "locks", "sigpending",
                                        "msgqueue", "nice",   "rtprio",  "rttime"};

    json_key("rlimits");
    json_open('{');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct rlimit limit = {0};
        getrlimit((__rlimit_resource_t)i, &limit);
        json_key(names[i]);
        json_open('[');
        json_number(limit.rlim_cur == RLIM_INFINITY ? -1 : (long long)limit.rlim_cur);
        json_number(limit.rlim_max == RLIM_INFINITY ? -1 : (long long)limit.rlim_max);
        json_close(']');
    }
    json_close('}');
}

void report_process(int argc, char **argv)
{
    (void)argc;
    texts("argv", argv);
    texts("env", environ);
    place();
    descriptors();
    terminal();
    limits();
}
