/* text.h: putting short texts together without stdio.
 *
 * Each line of a log has some, and each page that a monitor writes to is there once per container: printf(3) and
 * gmtime(3) are slow in comparison, allocate, and set up locales and time zones in pages of their own.
 *
 * A `struct text` is a window on a buffer of the caller's. What does not fit is cut off and remembered: a
 * text is only good to use when text_fits() says so.
 *
 * Read next: log.c and exitrecord.c, which write with it. */
#ifndef MINIDOCK_TEXT_H
#define MINIDOCK_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define STAMP_LENGTH 30 /* 2026-11-22T00:00:00.123456789Z */

struct text {
    char *start;
    size_t length, capacity;
    bool cut;
};

struct text text_in(char *buffer, size_t capacity);
void text_bytes(struct text *t, const void *bytes, size_t n);
void text_add(struct text *t, const char *string);

/* A number in decimal, padded with zeros to at least `width` digits (width 0: no padding). */
void text_number(struct text *t, unsigned long long number, unsigned width);

/* A time since 1970 in UTC, RFC 3339 with nanoseconds: STAMP_LENGTH characters. */
void text_time(struct text *t, const struct timespec *time);
void text_now(struct text *t);

/* Ends the text with a NUL (not counted). False when anything had to be cut off. */
bool text_fits(struct text *t);

#endif
