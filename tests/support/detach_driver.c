/* detach_driver.c: csrc/detach.c on its own, for tests/unit/test_detach.py.
 *
 *     detach_driver < script > output
 *
 * The script is a sequence of records, each a 32-bit length in this machine's order and as many bytes: first the keys,
 * then each read of a client's input. What goes to the container comes out in the same form, one record for each read. The
 * last record is empty if the keys were seen; else it has what is still held back at the end of input. */
#include "detach.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool take(void *to, size_t n)
{
    for (ssize_t got; n > 0; to = (char *)to + got, n -= (size_t)got)
        if ((got = read(0, to, n)) <= 0)
            return false;
    return true;
}

static void give(const void *data, size_t n)
{
    uint32_t length = (uint32_t)n;

    if (write(1, &length, sizeof length) != sizeof length || write(1, data, n) != (ssize_t)n)
        _exit(3);
}

int main(void)
{
    struct detach detach = {.length = 0};
    uint32_t n;
    bool seen = false;

    if (!take(&n, sizeof n) || n > DETACH_MAX || !take(detach.keys, n))
        return 2;
    detach.length = n;
    while (!seen && take(&n, sizeof n)) {
        unsigned char *buffer = malloc(DETACH_MAX + n); /* the overlapping use, as in client.c */
        if (!take(buffer + DETACH_MAX, n))
            return 2;
        size_t out = detach_filter(&detach, buffer, buffer + DETACH_MAX, n, &seen);
        give(buffer, out);
        free(buffer);
    }
    give(detach.keys, detach.matched);
    return seen ? 0 : 1;
}
