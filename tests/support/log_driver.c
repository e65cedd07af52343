/* log_driver.c: csrc/log.c on its own, for tests/unit/test_log_format.py.
 *
 *     log_driver PATH MAXSIZE MAXFILES < script
 *
 * The script is a sequence of records: one byte (1 stdout, 2 stderr), a 32-bit length in this machine's order and as many
 * bytes, which are one read from the container. Length 0 is the end of the stream. With FAILING_RENAME=n in the
 * environment the n-th rename(2) fails. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The C library's, for log.c. */
int rename(const char *from, const char *to)
{
    static int calls;
    const char *failing = getenv("FAILING_RENAME");

    if (failing != NULL && ++calls == atoi(failing)) {
        errno = EIO;
        return -1;
    }
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static bool take(void *to, size_t n)
{
    for (ssize_t got; n > 0; to = (char *)to + got, n -= (size_t)got)
        if ((got = read(0, to, n)) <= 0)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    struct log log = {.batch = malloc(LOG_BATCH)};
    struct log_stream streams[2] = {{.name = "stdout", .line = malloc(LOG_LINE)},
                                    {.name = "stderr", .line = malloc(LOG_LINE)}};
    unsigned char which;
    uint32_t n;

    if (argc != 4)
        return 2;
    signal(SIGXFSZ, SIG_IGN);
    log_open(&log, open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0640), argv[1], strtoull(argv[2], NULL, 10),
             (unsigned)atoi(argv[3]));
    while (take(&which, 1) && take(&n, sizeof n)) {
        unsigned char *chunk = malloc(n + 1); /* its own, so that the sanitizer sees any step beyond it */
        if (!take(chunk, n))
            return 3;
        if (n > 0)
            log_output(&log, &streams[which - 1], chunk, n);
        else
            log_end(&log, &streams[which - 1]);
        free(chunk);
    }
    free(log.batch);
    free(streams[0].line);
    free(streams[1].line);
    return 0;
}
