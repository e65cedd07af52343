/* replay.c: the log read back for clients that are behind, see replay.h. Serves client.c.
 *
 * Only what log.c writes is understood: {"log":"…","stream":"stdout" and so on, one object a line. A line that looks
 * otherwise is passed over. Lines of one stream that follow each other share a frame.
 *
 * Read next: json.c (the way back from JSON), log.c. */
#include "replay.h"
#include "client.h"
#include "util.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static const char opening[] = "{\"log\":\"";
static const char naming[] = "\",\"stream\":\"std"; /* out, err */

/* What is put together for the client. */
struct yield {
    unsigned flags;
    unsigned char *out;
    size_t room, used;
    unsigned stream; /* of the frame that is open; 0: none */
    size_t frame;    /* where it begins */
};

void replay_from_now(struct replay *replay, const struct log *log)
{
    *replay = (struct replay){.on = true, .offset = log->size, .skip = {log->streams[0].held, log->streams[1].held}};
}

void replay_from_start(struct replay *replay, const struct log *log)
{
    char name[PATH_MAX];
    unsigned number = 0;

    while (log->fd >= 0 && log_name(name, sizeof name, log->path, number + 1) && access(name, F_OK) == 0)
        number++;
    *replay = (struct replay){.on = log->fd >= 0, .number = number};
}

/* Where the next bytes of a stream go: behind the frame that is open, or behind a header to be. */
static unsigned char *yield_place(const struct yield *y, unsigned stream, size_t *room)
{
    size_t header = (y->flags & CLIENT_FRAMES) && y->stream != stream ? FRAME_HEADER : 0;

    *room = y->room - y->used > header ? y->room - y->used - header : 0;
    return y->out + y->used + header;
}

/* n bytes are there now. */
static void yield_add(struct yield *y, unsigned stream, size_t n)
{
    if (n == 0 || !(y->flags & stream))
        return;
    if (y->flags & CLIENT_FRAMES) {
        if (y->stream != stream) {
            y->stream = stream;
            y->frame = y->used;
            y->used += FRAME_HEADER;
        }
        frame_header(y->out + y->frame, stream, y->used + n - y->frame - FRAME_HEADER);
    }
    y->used += n;
}

/* The stream that a line belongs to, told by what follows its text; 0 for a line that is not ours. */
static unsigned stream_of(const char *at, const char *end)
{
    size_t n = sizeof naming - 1;

    if ((size_t)(end - at) < n + 3 || memcmp(at, naming, n) != 0)
        return 0;
    return memcmp(at + n, "out", 3) == 0 ? CLIENT_STDOUT : memcmp(at + n, "err", 3) == 0 ? CLIENT_STDERR : 0;
}

/* One line. False: there is no room for it, and there was for others. */
static bool replay_line(struct replay *replay, struct yield *y, const char *at, const char *end)
{
    bool cut, first = y->used == 0;
    size_t room, n = sizeof opening - 1, skip;
    unsigned char *place = yield_place(y, ~0U, &room); /* with room for a header, whether it needs one or not */

    if ((size_t)(end - at) < n || memcmp(at, opening, n) != 0)
        return true;
    at += n;
    ssize_t length = json_unescape(place, room, &at, end, &cut);
    unsigned stream = length >= 0 ? stream_of(at, end) : 0;
    if (stream == 0)
        return true;
    if (cut && !first)
        return false;
    skip = replay->skip[STREAM_INDEX(stream)];
    if (skip > (size_t)length)
        skip = (size_t)length;
    replay->skip[STREAM_INDEX(stream)] -= skip;
    memmove(yield_place(y, stream, &room), place + skip, (size_t)length - skip);
    yield_add(y, stream, (size_t)length - skip);
    return true;
}

/* Whole lines of the log, as many as there is room for. Returns how far that came. */
static size_t replay_lines(struct replay *replay, struct yield *y, const char *start, size_t n)
{
    const char *at = start, *end = start + n, *newline;

    while ((newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        if (!replay_line(replay, y, at, newline))
            return (size_t)(at - start);
        at = newline + 1;
    }
    return at > start ? (size_t)(at - start) : n; /* no line of ours is as long as the batch */
}

/* What the log does not have yet. */
static void replay_unfinished(struct replay *replay, const struct log *log, struct yield *y)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct log_stream *line = &log->streams[i];
        unsigned stream = i == 0 ? CLIENT_STDOUT : CLIENT_STDERR;
        size_t room, skip = replay->skip[i] < line->held ? replay->skip[i] : line->held;
        unsigned char *place = yield_place(y, stream, &room);

        if (!(y->flags & stream) || room < line->held - skip)
            continue;
        memcpy(place, line->line + skip, line->held - skip);
        yield_add(y, stream, line->held - skip);
    }
    replay->on = false;
}

static ssize_t replay_read(const struct replay *replay, const struct log *log)
{
    char name[PATH_MAX];
    uint64_t left = log->size > replay->offset ? log->size - replay->offset : 0;
    CLEANUP_FD int fd = -1;

    if (replay->number == 0) /* not beyond what we have written: the container may have been started again meanwhile */
        return left == 0 ? 0 : pread(log->fd, log->batch, left < LOG_BATCH ? left : LOG_BATCH, (off_t)replay->offset);
    if (log_name(name, sizeof name, log->path, replay->number))
        fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? 0 : pread(fd, log->batch, LOG_BATCH, (off_t)replay->offset);
}

size_t replay_step(struct replay *replay, const struct log *log, unsigned flags, unsigned char *out, size_t room)
{
    struct yield y = {.flags = flags, .out = out, .room = room};
    ssize_t n = replay_read(replay, log);

    if (n > 0) {
        replay->offset += replay_lines(replay, &y, log->batch, (size_t)n);
    } else if (replay->number > 0) {
        replay->number--;
        replay->offset = 0;
    } else {
        replay_unfinished(replay, log, &y);
    }
    return y.used;
}
