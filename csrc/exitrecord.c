/* exitrecord.c: the exit record, see exitrecord.h. Serves monitor.c.
 *
 * No fsync: the directory is on a tmpfs, and what a crash of the machine wipes out is the container as well.
 * See: wait(2) for the status, rename(2) for why the record can't be half there.
 *
 * Read next: monitor.c. */
#include "exitrecord.h"
#include "text.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h> /* renameat(2) alone: the standard puts it here */
#include <sys/wait.h>
#include <unistd.h>

struct exit_status exit_status_of(int wait_status)
{
    if (WIFSIGNALED(wait_status))
        return (struct exit_status){128 + WTERMSIG(wait_status), WTERMSIG(wait_status)};
    return (struct exit_status){WEXITSTATUS(wait_status), 0};
}

int exit_record_write(int dir_fd, struct exit_status status)
{
    char buffer[128];
    struct text line = text_in(buffer, sizeof buffer);
    CLEANUP_FD int fd = openat(dir_fd, "exit.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    text_add(&line, "{\"code\":");
    text_number(&line, (unsigned)status.code, 0);
    text_add(&line, ",\"signal\":");
    text_number(&line, (unsigned)status.signal, 0);
    text_add(&line, ",\"finished\":\"");
    text_now(&line);
    text_add(&line, "\"}\n");
    if (fd < 0)
        return -errno;
    int result = write_all(fd, line.start, line.length);
    if (result == 0 && renameat(dir_fd, "exit.tmp", dir_fd, "exit") != 0)
        result = -errno;
    if (result < 0)
        unlinkat(dir_fd, "exit.tmp", 0);
    return result;
}
