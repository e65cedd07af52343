/* report_identity.c: the report's part on rights: users, groups, capabilities, seccomp, signals, namespaces, keyring.
 * Most of it is the kernel's own account in /proc/self/status. Read next: report_files.c. */
#include "probe.h"

#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The rest of the line of /proc/self/status that starts with this word; "" if there is none. */
static const char *status_line(const char *status, const char *word)
{
    static char value[4096];
    size_t length = strlen(word);

    for (const char *line = status; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, word, length) == 0 && line[length] == ':') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(line + length + 2, "\n"), line + length + 2);
            return value;
        }
    }
    return "";
}

static void numbers(const char *key, const char *text)
{
    char *end;

    json_key(key);
    json_open('[');
    for (long value = strtol(text, &end, 10); end != text; value = strtol(text, &end, 10)) {
        json_number(value);
        text = end;
    }
    json_close(']');
}

static void capabilities(const char *status)
{
    static const char *const sets[][2] = {{"inheritable", "CapInh"},
                                          {"permitted", "CapPrm"},
                                          {"effective", "CapEff"},
                                          {"bounding", "CapBnd"},
                                          {"ambient", "CapAmb"}};

    json_key("capabilities");
    json_open('{');
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        json_pair(sets[i][0], status_line(status, sets[i][1]));
    json_close('}');
}

static void signals(const char *status)
{
    json_key("signals");
    json_open('{');
    json_pair("ignored", status_line(status, "SigIgn"));
    json_pair("blocked", status_line(status, "SigBlk"));
    json_pair("caught", status_line(status, "SigCgt"));
    json_close('}');
}

static void namespaces(void)
{
    static const char *const kinds[] = {
        "mnt", "uts", "ipc", "pid", "net", "cgroup", "user", "time", "pid_for_children"};

    json_key("namespaces");
    json_open('{');
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[64];
        struct stat status;
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
        if (stat(path, &status) == 0)
            json_pair_number(kinds[i], (long long)status.st_ino);
    }
    json_close('}');
}

/* The session keyring's serial number, or the errno's name: the default seccomp profile refuses to say. */
static void keyring(void)
{
    long id = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);

    json_key("session_keyring");
    if (id < 0)
        json_errno(errno);
    else
        json_number(id);
}

void report_identity(void)
{
    static char status[16384], map[4096];

    read_file("/proc/self/status", status, sizeof status);
    read_file("/proc/self/uid_map", map, sizeof map);
    numbers("uid_map", map);
    numbers("uids", status_line(status, "Uid"));
    numbers("gids", status_line(status, "Gid"));
    numbers("groups", status_line(status, "Groups"));
    capabilities(status);
    json_pair_number("no_new_privs", atoi(status_line(status, "NoNewPrivs")));
    json_pair_number("seccomp", atoi(status_line(status, "Seccomp")));
    json_pair_number("seccomp_filters", atoi(status_line(status, "Seccomp_filters")));
    signals(status);
    namespaces();
    keyring();
}
