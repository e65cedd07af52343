/* json.h: bytes of a container's output → the inside of a JSON string, byte for byte as Docker writes it.
 *
 * The json-file log is read by docker's own tools, fluentd, promtail and the like; the escapes are those of Go's
 * encoding/json, so that a file of ours and one of dockerd's compare equal.
 *
 * Read next: log.c, which puts the lines around the strings. */
#ifndef MINIDOCK_JSON_H
#define MINIDOCK_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define JSON_WORST 6 /* one byte becomes at most a \u00XX */

/* Writes the escaped form of in[0..n) to `out`, which has room for n * JSON_WORST bytes. Returns its length. */
size_t json_escape(char *out, const unsigned char *in, size_t n);

/* How many of the n bytes to take so that no UTF-8 character is cut in two: n, or up to 3 less. */
size_t json_whole_characters(const unsigned char *in, size_t n);

/* Whether before[0..m) and then in[0..n) will come back from the log as they are: no byte of theirs is ill-formed
 * UTF-8. `before` is empty or the beginning of a character; one at the end of `in` may still be unfinished. */
bool json_keeps(const unsigned char *before, size_t m, const unsigned char *in, size_t n);

/* The way back: the inside of a string, from *in up to the quote that ends it, where *in is left. Returns how many bytes
 * that gave, -1 if it is no JSON string. What does not fit into `room` bytes is left out, and *cut says so. */
ssize_t json_unescape(unsigned char *out, size_t room, const char **in, const char *end, bool *cut);

#endif
