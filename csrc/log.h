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
#define LOG_BATCH (LOG_LINE * JSON_WORST + 32768)

/* One of the container's streams: its name and the start of a line whose end hasn't come yet. */
struct log_stream {
    const char *name;
    size_t held;
    unsigned char *line; /* LOG_LINE bytes */
};

struct log {
    int fd;           /* -1: no log is kept */
    const char *path; /* for rotation */
    unsigned long long max_size;
    unsigned max_files;
    unsigned long long size; /* of the file, what is not yet written included */
    size_t used;
    char *batch; /* LOG_BATCH bytes: lines on their way to the file; nothing stays there between two calls */
};

/* Starts with an open file (O_APPEND) or -1. The fd is the log's from now on, the path stays valid; `batch` is set. */
void log_open(struct log *log, int fd, const char *path, unsigned long long max_size, unsigned max_files);

/* Takes one chunk of output; lines that are complete with it reach the file before this returns. */
void log_output(struct log *log, struct log_stream *stream, const unsigned char *data, size_t n);

/* The stream has ended: what is held of a last line is written. */
void log_end(struct log *log, struct log_stream *stream);

#endif
