/* probe.h: a static program that says what it sees from inside a container.
 *
 * Tests put it into an otherwise empty rootfs and run it as the container's command. `probe` alone prints a report of
 * everything that a process can know about its surroundings, as JSON (report_*.c); `probe VERB …` does one small
 * thing and says how it went (verbs*.c, syscalls.c). It trusts no library of the image and no shell.
 *
 * Serves tests/root and tests/cgroup through tests/support/probe.py. Read next: main.c. */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>

/* A JSON writer to stdout. Commas are its own business; keys are given before values in objects. */
void json_open(char bracket);
void json_close(char bracket);
void json_key(const char *key);
void json_text(const char *value);
void json_number(long long value);
void json_bool(bool value);
void json_hex(unsigned long long value);
/* "ok" for 0, else the errno's name. */
void json_errno(int error);
void json_end(void);

/* key and value at once */
void json_pair(const char *key, const char *value);
void json_pair_number(const char *key, long long value);

/* {"key": value, "error_key": "EPERM"} on a line of its own */
void print_one(const char *key, long long value, const char *error_key, int error);

/* The first `capacity` - 1 bytes of a file, NUL-terminated; the length, or -errno (then the text is empty). */
long read_file(const char *path, char *buffer, size_t capacity);

/* Calls visit(name) for each entry of a directory but "." and ".."; the count, or -errno. */
long each_entry(const char *path, void (*visit)(const char *directory, const char *name));

/* What the report is made of; each prints members of the one big object. */
void report_process(int argc, char **argv);
void report_identity(void);
void report_files(void);
void report_kernel(void);

/* A verb: its arguments start at argv[0]; returns the exit code. */
typedef int verb(int argc, char **argv);
verb verb_alloc, verb_cat, verb_exit, verb_fds, verb_filter, verb_fork, verb_hugepages, verb_kill, verb_mknod, verb_open, verb_orphans,
    verb_pause, verb_socket, verb_socketcall, verb_spin, verb_syscalls, verb_trap, verb_winsize, verb_write;

/* Runs the verb that argv[0] names, with the rest as its arguments; the report if it names none. */
int dispatch(int argc, char **argv);

#endif
