/* json.c: a JSON writer of forty lines, see probe.h. Strings are escaped byte by byte; bytes above 0x7f go out as they
 * are, so that a test sees what the kernel said. Read next: report_process.c. */
#include "probe.h"

#include <stdio.h>
#include <string.h>

static bool needs_comma;

static void begin_value(void)
{
    if (needs_comma)
        putchar(',');
    needs_comma = true;
}

void json_open(char bracket)
{
    begin_value();
    putchar(bracket);
    needs_comma = false;
}

void json_close(char bracket)
{
    putchar(bracket);
    needs_comma = true;
}

static void quoted(const char *text)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == '"' || *c == '\\')
            printf("\\u%04x", *c);
        else
            putchar(*c);
    }
    putchar('"');
}

void json_key(const char *key)
{
    begin_value();
    quoted(key);
    putchar(':');
    needs_comma = false;
}

void json_text(const char *value)
{
    begin_value();
    quoted(value);
}

void json_number(long long value)
{
    begin_value();
    printf("%lld", value);
}

void json_bool(bool value)
{
    begin_value();
    fputs(value ? "true" : "false", stdout);
}

void json_hex(unsigned long long value)
{
    begin_value();
    printf("\"%016llx\"", value);
}

void json_errno(int error)
{
    const char *name = error ? strerrorname_np(error) : "ok";

    json_text(name ? name : "unknown");
}

void json_end(void)
{
    putchar('\n');
    fflush(stdout);
    needs_comma = false;
}

void json_pair(const char *key, const char *value)
{
    json_key(key);
    json_text(value);
}

void json_pair_number(const char *key, long long value)
{
    json_key(key);
    json_number(value);
}
