/* text.c: short texts without stdio, see text.h for why. Serves log.c and exitrecord.c.
 *
 * The calendar is computed here because gmtime(3) brings glibc's time zone code along, which reads files and
 * allocates. UTC needs neither.
 *
 * Read next: log.c. */
#include "text.h"

#include <string.h>

struct text text_in(char *buffer, size_t capacity)
{
    return (struct text){.start = buffer, .capacity = capacity};
}

void text_bytes(struct text *t, const void *bytes, size_t n)
{
    if (n > t->capacity - t->length) {
        n = t->capacity - t->length;
        t->cut = true;
    }
    memcpy(t->start + t->length, bytes, n);
    t->length += n;
}

void text_add(struct text *t, const char *string)
{
    text_bytes(t, string, strlen(string));
}

void text_number(struct text *t, unsigned long long number, unsigned width)
{
    char digits[20];
    unsigned n = 0;

    do {
        digits[sizeof digits - ++n] = (char)('0' + number % 10);
        number /= 10;
    } while (n < sizeof digits && (number != 0 || n < width));
    text_bytes(t, digits + sizeof digits - n, n);
}

/* Days since 1970-01-01 → year, month, day of the Gregorian calendar.
 * Years are counted from March, so that the leap day is the last day of a year and months have a formula.
 * See: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days. */
static void text_date(struct text *t, long long days)
{
    long long shifted = days + 719468; /* from 0000-03-01 */
    long long era = shifted / 146097;  /* 400 years; the time of day is never before 1970 */
    unsigned day_of_era = (unsigned)(shifted - era * 146097);
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned from_march = (5 * day_of_year + 2) / 153;
    unsigned month = from_march < 10 ? from_march + 3 : from_march - 9;
    unsigned long long year = (unsigned long long)era * 400 + year_of_era + (month <= 2);

    text_number(t, year, 4);
    text_add(t, "-");
    text_number(t, month, 2);
    text_add(t, "-");
    text_number(t, day_of_year - (153 * from_march + 2) / 5 + 1, 2);
}

void text_time(struct text *t, const struct timespec *time)
{
    unsigned second = (unsigned)(time->tv_sec % 86400);

    text_date(t, time->tv_sec / 86400);
    text_add(t, "T");
    text_number(t, second / 3600, 2);
    text_add(t, ":");
    text_number(t, second / 60 % 60, 2);
    text_add(t, ":");
    text_number(t, second % 60, 2);
    text_add(t, ".");
    text_number(t, (unsigned long)time->tv_nsec, 9);
    text_add(t, "Z");
}

void text_now(struct text *t)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    text_time(t, &now);
}

bool text_fits(struct text *t)
{
    if (t->length == t->capacity)
        t->cut = true;
    else
        t->start[t->length] = '\0';
    return !t->cut;
}
