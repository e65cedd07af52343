/* util.h: what every C file of minidock uses: fds that close themselves, bounded parsing.
 *
 * Serves the walker, the monitor and the shim alike. The clean-up idea is crun's: a variable declared
 * with CLEANUP_FD is closed when its scope ends, whichever way; steal_fd() hands it out instead.
 * Errors are negative errno values, so that a step can return what a helper returned.
 *
 * Read next: step.h (how a step reports a failure), path.h. */
#ifndef MINIDOCK_UTIL_H
#define MINIDOCK_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* Closes *fd unless it is negative, and leaves -1 there. Keeps errno. */
void close_fd(int *fd);
void free_pointer(void *pointer_to_pointer);

#define CLEANUP_FD   __attribute__((cleanup(close_fd)))
#define CLEANUP_FREE __attribute__((cleanup(free_pointer)))

/* Takes the fd out of a CLEANUP_FD variable. */
int steal_fd(int *fd);

/* Writes all of it, past EINTR and short writes. 0 or -errno. */
int write_all(int fd, const void *data, size_t size);

int set_nonblocking(int fd);

/* A plain decimal number: digits only, no sign, no blank, no leading zero ("0755" is refused, since
 * it would be read as octal by one side and decimal by the other). 0, -EINVAL or -ERANGE. */
int parse_number(const char *text, uint64_t max, uint64_t *value);

/* As above with a leading '-' allowed. */
int parse_signed(const char *text, int64_t min, int64_t max, int64_t *value);

/* A file mode, octal as everybody writes it ("755", "0755"). 0 or -EINVAL. */
int parse_mode(const char *text, mode_t *mode);

/* A mask of 1 to 16 hex digits, with or without 0x. 0 or -EINVAL. */
int parse_hex(const char *text, uint64_t *value);

/* Takes the next element of a ','-joined list: copies it into item, moves *list behind it.
 * Returns 1 for an element, 0 at the end (an empty list has none), -EINVAL if one is empty or too long. */
int next_item(const char **list, char *item, size_t size);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t monotonic_ns(void);

#endif
