/* verbs.c: the verbs about ending, signals, terminals and streams. Each prints what happened on a line of its own at
 * once, so that a test can wait for it. Read next: verbs_limits.c. */
#include "probe.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int number(int argc, char **argv, int index, int otherwise)
{
    return argc > index ? atoi(argv[index]) : otherwise;
}

int verb_exit(int argc, char **argv)
{
    return number(argc, argv, 0, 0);
}

/* pid 1 survives this, since the kernel drops what an init has no handler for; then it says so. */
int verb_kill(int argc, char **argv)
{
    int signal_number = number(argc, argv, 0, SIGTERM);
    sigset_t one;

    signal(signal_number, SIG_DFL);
    sigemptyset(&one);
    sigaddset(&one, signal_number);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    kill(getpid(), signal_number);
    json_open('{');
    json_pair_number("survived", signal_number);
    json_close('}');
    json_end();
    return 0;
}

int verb_pause(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    for (;;)
        pause();
}

/* Takes signals one by one with sigwait(3), so that no handler can be interrupted by another. */
int verb_trap(int argc, char **argv)
{
    int code = number(argc, argv, 0, 0), wanted = number(argc, argv, 1, 0), got;
    sigset_t all;

    sigfillset(&all);
    sigdelset(&all, SIGCHLD);
    sigprocmask(SIG_BLOCK, &all, NULL);
    puts("ready");
    fflush(stdout);
    do {
        if (sigwait(&all, &got) != 0)
            continue;
        printf("signal %d\n", got);
        fflush(stdout);
    } while (wanted != 0 && got != wanted);
    return code;
}

int verb_winsize(int argc, char **argv)
{
    struct winsize size;
    sigset_t change;
    int got;

    (void)argc;
    (void)argv;
    sigemptyset(&change);
    sigaddset(&change, SIGWINCH);
    sigprocmask(SIG_BLOCK, &change, NULL);
    do {
        if (ioctl(0, TIOCGWINSZ, &size) < 0)
            return 1;
        printf("%u %u\n", size.ws_row, size.ws_col);
        fflush(stdout);
    } while (sigwait(&change, &got) == 0);
    return 0;
}

static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return false;
        bytes += done;
        n -= (size_t)done;
    }
    return true;
}

/* Lines of 64 bytes, so that both a byte count and a line count can be checked. */
int verb_write(int argc, char **argv)
{
    static char block[65536];
    unsigned long long left = argc > 0 ? strtoull(argv[0], NULL, 10) : 0;
    int fd = argc > 1 && strcmp(argv[1], "stderr") == 0 ? 2 : 1;

    for (size_t i = 0; i < sizeof block; i++)
        block[i] = i % 64 == 63 ? '\n' : (char)('a' + i % 26);
    while (left > 0) {
        size_t n = left < sizeof block ? (size_t)left : sizeof block;
        if (!write_all(fd, block, n))
            return 1;
        left -= n;
    }
    return 0;
}

int verb_cat(int argc, char **argv)
{
    static char block[65536];
    ssize_t n;

    (void)argc;
    (void)argv;
    while ((n = read(0, block, sizeof block)) > 0) {
        if (!write_all(1, block, (size_t)n))
            return 1;
    }
    return n < 0;
}

static void descriptor(const char *directory, const char *name)
{
    char path[64], target[4096];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    ssize_t n = readlink(path, target, sizeof target - 1);
    target[n < 0 ? 0 : n] = '\0';
    printf("%s %s\n", name, target);
}

int verb_fds(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return each_entry("/proc/self/fd", descriptor) < 0;
}
