/* detach.c: finding the detach keys, see detach.h. Serves client.c.
 *
 * The search is Knuth, Morris and Pratt's without the table: after a mismatch, the longest end of the held bytes that
 * is a beginning of the sequence stays held, and only what is before it is passed on. Starting afresh
 * instead would miss "aab" in "aaab". A sequence is a handful of keys, so the border is looked for when it is needed.
 * See: moby/term proxy.go, which does the same for dockerd.
 *
 * Read next: client.c. */
#include "detach.h"

#include <string.h>

/* How many of the held bytes have to go so that the rest is a beginning of the sequence again. */
static size_t border_shift(const struct detach *d)
{
    size_t shift = 1;
    while (memcmp(d->keys, d->keys + shift, d->matched - shift) != 0)
        shift++;
    return shift;
}

/* One byte through the search. Returns how many bytes it set free into `out`. */
static size_t step(struct detach *d, unsigned char *out, unsigned char byte)
{
    size_t freed = 0;
    while (d->matched > 0 && byte != d->keys[d->matched]) {
        size_t shift = border_shift(d);
        memcpy(out + freed, d->keys, shift);
        freed += shift;
        d->matched -= shift;
    }
    if (byte == d->keys[d->matched])
        d->matched++;
    else
        out[freed++] = byte;
    return freed;
}

size_t detach_filter(struct detach *d, unsigned char *out, const unsigned char *in, size_t n, bool *seen)
{
    unsigned char *start = out;
    const unsigned char *end = in + n;

    *seen = false;
    while (in < end) {
        if (d->matched == 0) { /* the usual case: nothing is held, jump to the first key or the end */
            const unsigned char *key = d->length > 0 ? memchr(in, d->keys[0], (size_t)(end - in)) : NULL;
            size_t run = (size_t)((key != NULL ? key : end) - in);
            memmove(out, in, run);
            out += run;
            in += run;
            if (in == end)
                break;
        }
        out += step(d, out, *in++);
        if (d->matched == d->length) {
            d->matched = 0;
            *seen = true;
            break;
        }
    }
    return (size_t)(out - start);
}
