/* verbs_limits.c: the verbs that run into walls: memory, processes, devices, time. Each prints an object that says
 * how far it came. Read next: verbs_seccomp.c. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void print_one(const char *key, long long value, const char *error_key, int error)
{
    json_open('{');
    json_pair_number(key, value);
    json_key(error_key);
    json_errno(error);
    json_close('}');
    json_end();
}

/* Touches MiB after MiB, so that the memory is really had. Who is killed on the way says nothing. */
int verb_alloc(int argc, char **argv)
{
    long wanted = argc > 0 ? atol(argv[0]) : 0;

    for (long have = 0; have < wanted; have++) {
        char *block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) {
            print_one("allocated", have, "error", errno);
            return 1;
        }
        memset(block, 1, 1 << 20);
    }
    print_one("allocated", wanted, "error", 0);
    return 0;
}

/* Maps all at once and then touches page after page; who has them holds them. */
int verb_hugepages(int argc, char **argv)
{
    size_t page = 1UL << 21, wanted = argc > 0 ? (size_t)atol(argv[0]) : 1;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT);

    if (argc > 1)
        flags |= MAP_NORESERVE;
    char *block = mmap(NULL, wanted * page, PROT_READ | PROT_WRITE, flags, -1, 0);
    print_one("mapped", block == MAP_FAILED ? 0 : (long long)wanted, "error", block == MAP_FAILED ? errno : 0);
    if (block == MAP_FAILED)
        return 1;
    for (size_t i = 0; i < wanted; i++)
        block[i * page] = 1;
    print_one("touched", (long long)wanted, "error", 0);
    return verb_pause(0, NULL);
}

/* Children that pause, until there are N or no more can be had; then they are ended one by one. */
int verb_fork(int argc, char **argv)
{
    long wanted = argc > 0 ? atol(argv[0]) : 1, have = 0;
    pid_t *children = calloc((size_t)wanted + 1, sizeof *children);
    int error = 0;

    while (children && have < wanted) {
        pid_t pid = fork();
        if (pid == 0)
            verb_pause(0, NULL);
        if (pid < 0) {
            error = errno;
            break;
        }
        children[have++] = pid;
    }
    print_one("children", have, "error", error);
    for (long i = 0; i < have; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    free(children);
    return error != 0;
}

/* A child that leaves a dead child behind: an orphan, which its new parent, pid 1, has to reap. */
static void make_orphan(void)
{
    pid_t child = fork();

    if (child == 0) {
        if (fork() == 0)
            _exit(0);
        usleep(20000);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static long zombies;

static void count_zombie(const char *directory, const char *name)
{
    char path[64], text[512];

    snprintf(path, sizeof path, "%s/%.32s/stat", directory, name);
    if (name[0] < '0' || name[0] > '9' || read_file(path, text, sizeof text) <= 0)
        return;
    const char *state = strrchr(text, ')');
    zombies += state && state[2] == 'Z';
}

/* Waits up to two seconds for the zombies to be gone; without a reaper as pid 1 they stay. */
int verb_orphans(int argc, char **argv)
{
    long wanted = argc > 0 ? atol(argv[0]) : 1;

    for (long i = 0; i < wanted; i++)
        make_orphan();
    for (int tries = 0; tries < 200; tries++) {
        zombies = 0;
        each_entry("/proc", count_zombie);
        if (zombies == 0)
            break;
        usleep(10000);
    }
    json_open('{');
    json_pair_number("orphans", wanted);
    json_pair_number("zombies", zombies);
    json_close('}');
    json_end();
    return 0;
}

static void try_open(const char *key, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    json_key(key);
    json_errno(fd < 0 ? errno : 0);
    if (fd >= 0)
        close(fd);
}

int verb_mknod(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    mode_t type = argv[1][0] == 'b' ? S_IFBLK : S_IFCHR;
    int result = mknod(argv[0], type | 0600, makedev((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3])));

    json_open('{');
    json_key("mknod");
    json_errno(result < 0 ? errno : 0);
    try_open("read", argv[0], O_RDONLY);
    try_open("write", argv[0], O_WRONLY);
    json_close('}');
    json_end();
    unlink(argv[0]);
    return 0;
}

int verb_open(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "r";

    json_open('{');
    try_open("open", argc > 0 ? argv[0] : "", strcmp(mode, "rw") == 0 ? O_RDWR : *mode == 'w' ? O_WRONLY : O_RDONLY);
    json_close('}');
    json_end();
    return 0;
}

int verb_spin(int argc, char **argv)
{
    double wanted = argc > 0 ? atof(argv[0]) : 1;
    struct timespec start, now, used;

    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        for (volatile int i = 0; i < 100000; i++)
            ;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 < wanted);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    print_one("cpu_ms", used.tv_sec * 1000 + used.tv_nsec / 1000000, "error", 0);
    return 0;
}
