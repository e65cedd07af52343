/* json.c: output bytes → JSON string, see json.h. Serves log.c.
 *
 * Nearly all output is plain ASCII, so the escape runs over stretches of plain bytes and copies each as a whole. A
 * container may write anything, though: bytes that are no UTF-8 become U+FFFD one by one, as in Go, because a JSON
 * text can't hold them.
 * See: RFC 8259 section 7, RFC 3629 section 4 (the well-formed sequences).
 *
 * Read next: log.c. */
#include "json.h"

#include <string.h>

/* What is not copied as it is. Go escapes < > & too, against being pasted into HTML; Docker inherits that. */
static const bool special[256] = {
    [0 ... 0x1f] = true, ['"'] = true, ['&'] = true, ['<'] = true, ['>'] = true, ['\\'] = true, [0x80 ... 0xff] = true,
};

static size_t escape_ascii(char *out, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";
    const char *found = strchr("\"\"\\\\\nn\rr\tt", byte); /* pairs: the byte, the letter behind the backslash */
    const char unicode[] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};

    if (byte != 0 && found != NULL) {
        out[0] = '\\';
        out[1] = found[1];
        return 2;
    }
    memcpy(out, unicode, sizeof unicode);
    return sizeof unicode;
}

/* The length of a sequence by its first byte; 0 where no sequence starts with it. */
static size_t sequence_length(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

/* Whether `second` may follow `first`: excludes overlong forms, surrogates and what is past U+10FFFF. */
static bool second_fits(unsigned char first, unsigned char second)
{
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;

    return second >= low && second <= high;
}

/* How many of the available bytes belong to the well-formed sequence that starts here: all that it needs, fewer
 * when the input ends inside it, 0 when it is ill-formed. */
static size_t sequence_present(const unsigned char *in, size_t available, size_t needed)
{
    size_t i;

    if (needed == 0 || (needed > 1 && available > 1 && !second_fits(in[0], in[1])))
        return 0;
    for (i = 2; i < needed && i < available; i++)
        if ((in[i] & 0xc0) != 0x80)
            return 0;
    return needed < available ? needed : available;
}

static size_t escape_character(char *out, const unsigned char *in, size_t available, size_t *taken)
{
    size_t needed = sequence_length(in[0]);

    *taken = 1;
    if (in[0] < 0x80)
        return escape_ascii(out, in[0]);
    if (sequence_present(in, available, needed) < needed || needed == 0) {
        memcpy(out, "\\ufffd", 6);
        return 6;
    }
    *taken = needed;
    /* U+2028 and U+2029 end a line in old JavaScript: e2 80 a8 and e2 80 a9. */
    if (in[0] == 0xe2 && in[1] == 0x80 && (in[2] == 0xa8 || in[2] == 0xa9)) {
        memcpy(out, in[2] == 0xa8 ? "\\u2028" : "\\u2029", 6);
        return 6;
    }
    memcpy(out, in, needed);
    return needed;
}

size_t json_escape(char *out, const unsigned char *in, size_t n)
{
    char *start = out;
    size_t i = 0, run, taken;

    while (i < n) {
        for (run = i; run < n && !special[in[run]]; run++)
            ;
        memcpy(out, in + i, run - i);
        out += run - i;
        i = run;
        if (i == n)
            break;
        out += escape_character(out, in + i, n - i, &taken);
        i += taken;
    }
    return (size_t)(out - start);
}

size_t json_whole_characters(const unsigned char *in, size_t n)
{
    size_t back, needed, present;

    for (back = 1; back <= 3 && back < n; back++) {
        if ((in[n - back] & 0xc0) == 0x80)
            continue; /* inside a sequence: its first byte is further back */
        needed = sequence_length(in[n - back]);
        present = sequence_present(in + n - back, back, needed);
        return present == back && back < needed ? n - back : n;
    }
    return n;
}

bool json_keeps(const unsigned char *before, size_t m, const unsigned char *in, size_t n)
{
    unsigned char joint[8];
    size_t i = 0, needed;

    if (m > 0 && n > 0) {
        size_t more = n < 4 ? n : 4;
        memcpy(joint, before, m);
        memcpy(joint + m, in, more);
        needed = sequence_length(joint[0]);
        if (sequence_present(joint, m + more, needed) == 0)
            return false;
        i = needed - m;
    }
    while (i < n) {
        needed = sequence_length(in[i]);
        if (sequence_present(in + i, n - i, needed) == 0)
            return false;
        i += needed;
    }
    return true;
}

static int hex_value(char digit)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = digit != '\0' ? strchr(digits, digit | 0x20) : NULL;

    return found != NULL ? (int)(found - digits) : -1;
}

/* Four hex digits → UTF-8, 1 to 3 bytes. Halves of surrogate pairs come as they are: our logs hold none. */
static int unescape_unicode(unsigned char *out, const char *in)
{
    int code = 0;

    for (int i = 0; i < 4; i++) {
        int value = hex_value(in[i]);
        if (value < 0)
            return -1;
        code = code << 4 | value;
    }
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (unsigned char)(0xc0 | code >> 6);
        out[1] = (unsigned char)(0x80 | (code & 0x3f));
        return 2;
    }
    out[0] = (unsigned char)(0xe0 | code >> 12);
    out[1] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
    out[2] = (unsigned char)(0x80 | (code & 0x3f));
    return 3;
}

/* One escape, in[0] being what follows the backslash. Returns how many bytes it stands for; -1: it is none. */
static int unescape_one(unsigned char *out, const char *in, size_t available, size_t *taken)
{
    static const char letters[] = "\"\"\\\\//n\nr\rt\tb\bf\f"; /* pairs: the letter, its byte */

    *taken = in[0] == 'u' ? 5 : 1;
    if (available < *taken)
        return -1;
    if (in[0] == 'u')
        return unescape_unicode(out, in + 1);
    for (const char *pair = letters; *pair != '\0'; pair += 2)
        if (*pair == in[0]) {
            out[0] = (unsigned char)pair[1];
            return 1;
        }
    return -1;
}

ssize_t json_unescape(unsigned char *out, size_t room, const char **in, const char *end, bool *cut)
{
    const char *at = *in;
    unsigned char bytes[3];
    size_t used = 0, taken;

    *cut = false;
    for (; at < end && *at != '"'; at++) {
        int n = 1;
        bytes[0] = (unsigned char)*at;
        if (*at == '\\') {
            if (at + 1 == end || (n = unescape_one(bytes, at + 1, (size_t)(end - at - 1), &taken)) < 0)
                return -1;
            at += taken;
        }
        if (used + (size_t)n > room)
            *cut = true;
        for (int i = 0; i < n && !*cut; i++)
            out[used++] = bytes[i];
    }
    *in = at;
    return at < end ? (ssize_t)used : -1;
}
