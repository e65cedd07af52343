/* text_driver.c: csrc/text.c on its own, for tests/unit/test_log_format.py.
 *
 *     text_driver SECONDS...
 *
 * Prints each time, with its number modulo 10^9 as nanoseconds, on a line. */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *buffer = malloc(STAMP_LENGTH + 1); /* its own, so that the sanitizer sees any step beyond it */
        struct text t = text_in(buffer, STAMP_LENGTH + 1);
        long long seconds = atoll(argv[i]);
        struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(seconds % 1000000000)};

        text_time(&t, &time);
        if (!text_fits(&t) || puts(buffer) < 0)
            return 1;
        free(buffer);
    }
    return 0;
}
