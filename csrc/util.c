/* util.c: see util.h. Small helpers with no opinion about containers.
 *
 * Two of them carry weight. The parsers are strict on purpose: a plan is written by our own Python, so
 * anything unexpected is a bug there, and guessing would hide it (security.md rows 21 and 22 tell
 * of runtimes that read "-1" or " 0" as a user id). close_fd() keeps errno, because it runs on the way
 * out of a function that has just failed.
 *
 * Read next: plan.c, which uses the parsers; path.c, which uses the clean-ups. */
#include "util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void close_fd(int *fd)
{
    int saved = errno;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = saved;
}

void free_pointer(void *pointer_to_pointer)
{
    void **pointer = pointer_to_pointer;
    free(*pointer);
    *pointer = NULL;
}

int steal_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* write(2) may take less than it was given (a pipe that is nearly full), and may be interrupted by a signal
 * before it took anything; both are no errors. A non-blocking fd gives -EAGAIN, with part of the data written. */
int write_all(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

/* The flag belongs to the open file description, not to the fd: whoever shares the description shares the flag.
 * Never use it on a standard fd of somebody else's. */
int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

/* strtoull(3) would take " 7", "+7", "-7" (as 2^64-7), "7x" and, with base 0, "07" as octal. None of those is a
 * number that our Python writes. The overflow test comes before the multiplication, since unsigned arithmetic wraps. */
int parse_number(const char *text, uint64_t max, uint64_t *value)
{
    if (!isdigit((unsigned char)text[0]) || (text[0] == '0' && text[1] != '\0'))
        return -EINVAL;
    uint64_t sum = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (!isdigit((unsigned char)*c))
            return -EINVAL;
        uint64_t digit = (uint64_t)(*c - '0');
        if (digit > max || sum > (max - digit) / 10)
            return -ERANGE;
        sum = sum * 10 + digit;
    }
    *value = sum;
    return 0;
}

int parse_signed(const char *text, int64_t min, int64_t max, int64_t *value)
{
    bool negative = text[0] == '-';
    uint64_t magnitude;
    int r = parse_number(negative ? text + 1 : text, INT64_MAX, &magnitude);
    if (r < 0)
        return r;
    int64_t number = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    if (number < min || number > max)
        return -ERANGE;
    *value = number;
    return 0;
}

int parse_mode(const char *text, mode_t *mode)
{
    size_t length = strlen(text);
    if (length == 0 || length > 5 || strspn(text, "01234567") != length)
        return -EINVAL;
    unsigned long value = strtoul(text, NULL, 8);
    if (value > 07777)
        return -EINVAL;
    *mode = (mode_t)value;
    return 0;
}

int parse_hex(const char *text, uint64_t *value)
{
    if (text[0] == '0' && text[1] == 'x')
        text += 2;
    size_t length = strlen(text);
    if (length == 0 || length > 16 || strspn(text, "0123456789abcdefABCDEF") != length)
        return -EINVAL;
    *value = strtoull(text, NULL, 16);
    return 0;
}

/* No strtok(3): the list is in the mapped plan, which is read-only and must stay as it was checked. */
int next_item(const char **list, char *item, size_t size)
{
    if (**list == '\0')
        return 0;
    size_t length = strcspn(*list, ",");
    if (length == 0 || length >= size)
        return -EINVAL;
    memcpy(item, *list, length);
    item[length] = '\0';
    *list += length;
    if (**list == ',') {
        (*list)++;
        if (**list == '\0') /* "a," has an empty last element */
            return -EINVAL;
    }
    return 1;
}

/* Not CLOCK_REALTIME: setting the clock during a start would make a step take minus one hour. A vDSO call: it
 * enters no kernel, so it works under any seccomp filter. */
uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}
