/* log.c: the json-file log, see log.h. Serves pump.c.
 *
 * A container must never be held up or killed by its log: a line that can't be written (disk full, quota) is
 * dropped, a rotation that fails leaves the old file in use.
 * See: moby daemon/logger/copier.go (lines and pieces), jsonfilelog/jsonlog/jsonlogbytes.go (the format),
 * loggerutils/logfile.go (rotation before the write that finds the file full).
 *
 * Read next: json.c. */
#include "log.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h> /* rename(2) alone: the standard puts it here */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void log_open(struct log *log, int fd, const char *path, unsigned long long max_size, unsigned max_files)
{
    struct stat status;

    log->fd = fd;
    log->path = path;
    log->max_size = max_size;
    log->max_files = max_files;
    log->size = fd >= 0 && fstat(fd, &status) == 0 ? (unsigned long long)status.st_size : 0;
    log->turn = max_size;
    log->used = 0;
}

/* Writes what there is room for (unlike write_all of util.h, which has no use for half a success). Returns how much
 * that was; less than n when the disk is full or broken. */
static size_t write_what_fits(int fd, const char *data, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t wrote = write(fd, data + done, n - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            break;
        done += (size_t)wrote;
    }
    return done;
}

/* The disk is full in the midst of a line: takes its beginning out of the file again. */
static void drop_torn_line(struct log *log, size_t wrote)
{
    size_t torn = 0;
    while (torn < wrote && log->batch[wrote - torn - 1] != '\n')
        torn++;
    off_t end = lseek(log->fd, 0, SEEK_END);
    if (torn > 0 && end >= (off_t)torn && ftruncate(log->fd, end - (off_t)torn) == 0)
        end -= (off_t)torn;
    log->size = end > 0 ? (unsigned long long)end : 0;
}

static void log_flush(struct log *log)
{
    size_t wrote = write_what_fits(log->fd, log->batch, log->used);
    if (wrote < log->used)
        drop_torn_line(log, wrote);
    log->used = 0;
}

bool log_name(char *out, size_t capacity, const char *path, unsigned number)
{
    struct text name = text_in(out, capacity);

    text_add(&name, path);
    if (number > 0) {
        text_add(&name, ".");
        text_number(&name, number, 0);
    }
    return text_fits(&name);
}

/* path.1 becomes path.2 and so on, path becomes path.1; the oldest is replaced. */
static bool shift_files(const char *path, unsigned files)
{
    char from[PATH_MAX], to[PATH_MAX];
    unsigned number;

    for (number = files - 1; number > 0; number--) {
        if (!log_name(from, sizeof from, path, number - 1) || !log_name(to, sizeof to, path, number))
            return false;
        if (rename(from, to) != 0 && errno != ENOENT)
            return false;
    }
    return true;
}

/* Puts the file `next` in the place of `path`, which becomes path.1. False when everything is as it was, but for gaps
 * between the older files. */
static bool replace(const char *next, const char *path, unsigned files)
{
    char younger[PATH_MAX];

    if (files > 1 && !shift_files(path, files))
        return false;
    if (rename(next, path) == 0)
        return true;
    if (files > 1 && log_name(younger, sizeof younger, path, 1))
        rename(younger, path); /* we go on writing it: it must not count as one of the past */
    return false;
}

/* A new file in the old one's place. With one file only, that one is replaced and not emptied: whoever has it open reads it
 * to its end. Returns its descriptor. */
static int next_file(const char *path, unsigned files)
{
    char name[PATH_MAX];
    struct text next = text_in(name, sizeof name);
    CLEANUP_FD int fd = -1;

    text_add(&next, path);
    text_add(&next, ".next");
    if (!text_fits(&next))
        return -1;
    fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return -1; /* goes on in the old one */
    if (!replace(name, path, files)) {
        unlink(name);
        return -1;
    }
    return steal_fd(&fd);
}

static void rotate(struct log *log)
{
    log_flush(log);
    log->turn = log->size + log->max_size; /* whatever goes wrong below: the next try is not at the next line */
    int fd = next_file(log->path, log->max_files);
    if (fd < 0)
        return;
    close(log->fd);
    log->fd = fd;
    log->size = 0;
    log->turn = log->max_size;
}

bool log_full(const struct log *log)
{
    unsigned long long most = log->max_size < LOG_SLACK ? LOG_SLACK : log->max_size;

    return log->read_back && log->max_size > 0 && log->size / 2 >= most;
}

bool log_keeps(const struct log *log, const struct log_stream *stream, const unsigned char *data, size_t n)
{
    size_t whole = log->fd >= 0 ? json_whole_characters(stream->line, stream->held) : 0;

    return log->fd >= 0 && json_keeps(stream->line + whole, stream->held - whole, data, n);
}

static void add_line(struct log *log, const char *stream, const char *stamp, const unsigned char *data, size_t n)
{
    struct text line;

    if (log->max_size > 0 && log->size >= log->turn && !log->read_back)
        rotate(log);
    if (LOG_BATCH - log->used < n * JSON_WORST + LOG_FRAME)
        log_flush(log);
    line = text_in(log->batch + log->used, LOG_BATCH - log->used);
    text_add(&line, "{\"log\":\"");
    line.length += json_escape(line.start + line.length, data, n);
    text_add(&line, "\",\"stream\":\"");
    text_add(&line, stream);
    text_add(&line, "\",\"time\":\"");
    text_bytes(&line, stamp, STAMP_LENGTH);
    text_add(&line, "\"}\n");
    log->used += line.length;
    log->size += line.length;
}

/* The start of a line is being held: completes it from `data`. Returns how many bytes that took. */
static size_t complete_held(struct log *log, struct log_stream *stream, const char *stamp, const unsigned char *data,
                            size_t n)
{
    size_t room = LOG_LINE - stream->held, take = n < room ? n : room, piece;
    const unsigned char *newline = memchr(data, '\n', take);

    if (newline != NULL)
        take = (size_t)(newline - data) + 1;
    memcpy(stream->line + stream->held, data, take);
    stream->held += take;
    if (newline == NULL && stream->held < LOG_LINE)
        return take;
    piece = newline != NULL ? stream->held : json_whole_characters(stream->line, stream->held);
    add_line(log, stream->name, stamp, stream->line, piece);
    memmove(stream->line, stream->line + piece, stream->held - piece);
    stream->held -= piece;
    return take;
}

void log_output(struct log *log, struct log_stream *stream, const unsigned char *data, size_t n)
{
    char stamp[STAMP_LENGTH + 1];
    struct text now = text_in(stamp, sizeof stamp);
    const unsigned char *newline;
    size_t length, done = 0;

    if (log->fd < 0)
        return;
    text_now(&now);
    while (done < n) {
        newline = stream->held == 0 ? memchr(data + done, '\n', n - done) : NULL;
        length = newline != NULL ? (size_t)(newline - data) + 1 - done : LOG_LINE + 1;
        if (length > LOG_LINE) {
            done += complete_held(log, stream, stamp, data + done, n - done);
            continue;
        }
        add_line(log, stream->name, stamp, data + done, length);
        done += length;
    }
    log_flush(log);
}

void log_end(struct log *log, struct log_stream *stream)
{
    char stamp[STAMP_LENGTH + 1];
    struct text now = text_in(stamp, sizeof stamp);

    if (log->fd < 0 || stream->held == 0)
        return;
    text_now(&now);
    add_line(log, stream->name, stamp, stream->line, stream->held);
    stream->held = 0;
    log_flush(log);
}
