/* log.h: the container's output as Docker's json-file log.
 *
 * One JSON object a line: {"log":"text\n","stream":"stdout","time":"2026-11-22T00:00:00.123456789Z"}. A line of
 * output that is longer than 16 KiB, or that has no newline when the stream ends, is written in pieces without
 * "\n" at their end; readers join them.
 *
 * `logs -f` of the daemon reads the file while it grows, so only whole lines are ever written, each write(2) holding
 * as many of them as one read from the container gave.
 *
 * Read next: json.h (the escapes), pump.c (who calls). */
#ifndef MINIDOCK_LOG_H
#define MINIDOCK_LOG_H

#include "json.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>

#define LOG_LINE  16384 /* Docker's limit for one line of output */
#define LOG_FRAME 128   /* what surrounds the string in a line of the log */
#ifndef LOG_SLACK
#define LOG_SLACK (4 << 20) /* how large the file may always become while somebody reads it back */
#endif
#define LOG_BATCH (LOG_LINE * JSON_WORST + 32768)

/* One of the container's streams: its name and the start of a line whose end hasn't come yet. */
struct log_stream {
    const char *name;
    size_t held;
    unsigned char *line; /* LOG_LINE bytes */
};

struct log {
    int fd;           /* -1: no log is kept */
    const char *path; /* for rotation; NULL: not opened yet */
    unsigned long long max_size;
    unsigned max_files;
    unsigned long long size;      /* of the file, what is not yet written included */
    unsigned long long turn;      /* the size at which it is rotated */
    bool read_back;               /* somebody reads it from a noted place on (replay.h): not now */
    struct log_stream streams[2]; /* stdout, stderr */
    size_t used;
    char *batch; /* LOG_BATCH bytes: lines on their way to the file; nothing stays there between two calls */
};

/* Starts with an open file (O_APPEND) or -1. The fd is the log's from now on, the path stays valid; `batch` is set. */
void log_open(struct log *log, int fd, const char *path, unsigned long long max_size, unsigned max_files);

/* Takes one chunk of output; lines that are complete with it reach the file before this returns. */
void log_output(struct log *log, struct log_stream *stream, const unsigned char *data, size_t n);

/* Whether the log will be able to say exactly what these bytes were: it is kept, and they are text. */
bool log_keeps(const struct log *log, const struct log_stream *stream, const unsigned char *data, size_t n);

/* Somebody reads it back, and for its limits it must not grow on before it has been rotated. */
bool log_full(const struct log *log);

/* path, or path.N for N > 0. */
bool log_name(char *out, size_t capacity, const char *path, unsigned number);

/* The stream has ended: what is held of a last line is written. */
void log_end(struct log *log, struct log_stream *stream);

#endif
