/* frame.h: the header that Docker's multiplexed streams put before each piece of output.
 *
 *     1 stdout | 2 stderr, 0, 0, 0, length (32 bits, big-endian)
 *
 * A terminal's stream has none. See: Docker Engine API, "Attach to a container", stream format.
 * Read next: client.c (live output), replay.c (output from the log). */
#ifndef MINIDOCK_FRAME_H
#define MINIDOCK_FRAME_H

#include <stddef.h>

/* The streams, as flags; the values are the control protocol's (client.h). */
#define STREAM_OUT   2U
#define STREAM_ERR   4U
#define FRAME_HEADER 8

/* Where a stream is found in an array of two. */
#define STREAM_INDEX(stream) ((stream) == STREAM_OUT ? 0 : 1)

static inline void frame_header(unsigned char *at, unsigned stream, size_t n)
{
    at[0] = stream == STREAM_OUT ? 1 : 2;
    at[1] = at[2] = at[3] = 0;
    at[4] = (unsigned char)(n >> 24);
    at[5] = (unsigned char)(n >> 16);
    at[6] = (unsigned char)(n >> 8);
    at[7] = (unsigned char)n;
}

#endif
