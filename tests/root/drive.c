/* drive.c: runs the plan walker without the monitor's loop, for tests.
 *
 *     drive run         walks the plan behind fd 4 (extra fds from 6 on); relays stdio; report as JSON on fd 3
 *     drive fuzz N SEED mutates the plan behind fd 4 N times and parses it; under ASan any misstep aborts
 *
 * Serves tests/root/test_walker.py and tests/unit/test_plan_wire_c.py. What is tested is csrc/ itself, with
 * nothing in between: a failure here is the walker's. Built by `make -C csrc drive`, also with SAN=1.
 *
 * Read next: csrc/launch.h, tests/root/walker.py (the Python side). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch.h"
#include "plan.h"
#include "report.h"
#include "util.h"

enum { REPORT_FD = 3, PLAN_FD = 4 };

static void print_json_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\' || (unsigned char)*text < ' ')
            fprintf(out, "\\u%04x", (unsigned char)*text);
        else
            fputc(*text, out);
    }
    fputc('"', out);
}

static void report(const struct launch *l, int started, int status)
{
    FILE *out = fdopen(REPORT_FD, "w");
    fprintf(out, "{\"started\":%s,\"pid\":%d,\"status\":%d,\"failed_step\":%u,\"errno\":%d,\"detail\":",
            started == 0 ? "true" : "false", (int)l->pid, status, l->failed_step, l->failed_errno);
    print_json_text(out, l->detail);
    fprintf(out, ",\"results\":[");
    for (uint32_t i = 0; i < l->nsteps; i++)
        fprintf(out, "%s[%u,%u]", i > 0 ? "," : "", l->results[i].error, l->results[i].usec);
    fprintf(out, "]}\n");
    fclose(out);
}

/* Copies what is there from one fd to another; at its end closes both (the target may be -1). */
static void relay(struct pollfd *from, int *to)
{
    char buffer[4096];
    ssize_t n = read(from->fd, buffer, sizeof(buffer));
    if (n > 0) {
        while (write_all(*to, buffer, (size_t)n) == -EAGAIN)
            poll(&(struct pollfd){.fd = *to, .events = POLLOUT}, 1, -1);
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close_fd(&from->fd); /* poll(2) skips negative fds */
    if (*to > 2)
        close_fd(to);
}

/* Until the container's output has ended; its input ends when ours does. */
static void pump(struct launch *l)
{
    bool pty = l->master_fd >= 0;
    int to[3] = {pty ? dup(l->master_fd) : l->stdin_fd, 1, 2};
    struct pollfd from[3] = {
        {.fd = to[0] >= 0 ? 0 : -1, .events = POLLIN},
        {.fd = pty ? l->master_fd : l->stdout_fd, .events = POLLIN},
        {.fd = pty ? -1 : l->stderr_fd, .events = POLLIN},
    };
    while (from[1].fd >= 0 || from[2].fd >= 0) {
        if (poll(from, 3, -1) < 0)
            continue;
        for (int i = 0; i < 3; i++) {
            if (from[i].fd >= 0 && from[i].revents != 0)
                relay(&from[i], &to[i]);
        }
    }
}

static unsigned count_extra_fds(void)
{
    unsigned count = 0;
    while (fcntl((int)(FIRST_EXTRA_FD + count), F_GETFD) >= 0)
        count++;
    return count;
}

static int run(void)
{
    struct launch l;
    int status = 0;
    int started = launch_open(PLAN_FD, count_extra_fds(), &l);
    if (started == 0)
        started = launch_run(&l);
    if (started == 0) {
        pump(&l);
        while (waitpid(l.pid, &status, __WALL) < 0 && errno == EINTR)
            continue;
    }
    report(&l, started, status);
    return 0;
}

/* One mutation: flip, overwrite, cut or repeat a few bytes. Lengths and counts are hit most by the small values. */
static size_t mutate(char *bytes, size_t size, size_t room)
{
    size_t at = (size_t)rand() % size, length = (size_t)rand() % 8 + 1;
    switch (rand() % 4) {
    case 0:
        bytes[at] ^= (char)(1 << rand() % 8);
        return size;
    case 1:
        bytes[at] = (char)(rand() % 3 == 0 ? 0xff : rand() % 5);
        return size;
    case 2:
        return at < 17 ? size : at;
    default:
        if (at + length > size || size + length > room)
            return size;
        memmove(bytes + at + length, bytes + at, size - at);
        return size + length;
    }
}

static int fuzz(unsigned rounds, unsigned seed)
{
    struct stat st;
    unsigned accepted = 0;
    if (fstat(PLAN_FD, &st) < 0)
        return 1;
    size_t size = (size_t)st.st_size;
    char *original = mmap(NULL, size, PROT_READ, MAP_PRIVATE, PLAN_FD, 0);
    srand(seed);
    for (unsigned i = 0; i < rounds; i++) {
        struct plan plan;
        struct plan_error error;
        size_t room = size + 64, length = size;
        char *bytes = malloc(room);
        memcpy(bytes, original, size);
        for (int n = rand() % 4 + 1; n > 0; n--)
            length = mutate(bytes, length, room);
        char *exact = malloc(length); /* so that ASan sees the very first byte behind */
        memcpy(exact, bytes, length);
        if (plan_parse(&plan, exact, length, &error) == 0) {
            accepted++;
            plan_free(&plan);
        }
        free(exact);
        free(bytes);
    }
    printf("%u\n", accepted);
    return 0;
}

/* A page that whoever got hold of the child has written all over: nothing outside of it may be touched. */
static int forge(void)
{
    struct launch l;
    if (launch_open(PLAN_FD, 0, &l) < 0)
        return 1;
    memset(l.report, 0xee, offsetof(struct shared_report, results));
    report_conclude(l.report, l.plan, 0);
    report_stuck(l.report, l.plan);
    report_conclude(l.report, l.plan, 0);
    printf("%s\n", l.report->failed_step < l.nsteps ? "in bounds" : "beyond");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "run") == 0)
        return run();
    if (argc == 2 && strcmp(argv[1], "forge") == 0)
        return forge();
    if (argc == 4 && strcmp(argv[1], "fuzz") == 0)
        return fuzz((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
    fprintf(stderr, "usage: drive run | drive forge | drive fuzz ROUNDS SEED\n");
    return 2;
}
