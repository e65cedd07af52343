/* detach.h: the key sequence that takes a client off its container (default ctrl-p, ctrl-q).
 *
 * The keys may arrive byte by byte or glued to other input, so a partial match is held back until the next byte
 * decides; what turns out not to be the sequence is passed on, in order, unchanged.
 *
 * Read next: client.c, which feeds each client's input through one of these. */
#ifndef MINIDOCK_DETACH_H
#define MINIDOCK_DETACH_H

#include <stdbool.h>
#include <stddef.h>

#define DETACH_MAX 64 /* keys in a sequence */

struct detach {
    unsigned char keys[DETACH_MAX];
    size_t length;  /* 0: nothing detaches */
    size_t matched; /* how many bytes are held back; they equal the first keys */
};

/* Copies what is not part of the sequence to `out`, which has room for n + DETACH_MAX bytes and may overlap `in` as
 * long as it starts at least DETACH_MAX before it. Returns how much that was. Sets *seen when the whole sequence was
 * there; what follows it is dropped then. */
size_t detach_filter(struct detach *detach, unsigned char *out, const unsigned char *in, size_t n, bool *seen);

#endif
