/* report_kernel.c: the report's part on what the kernel says about others: processes in sight, the cgroup, network
 * interfaces, the OOM score, the LSM label. Read next: main.c. */
#include "probe.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static void process(const char *directory, const char *name)
{
    (void)directory;
    if (isdigit((unsigned char)name[0]))
        json_number(atoi(name));
}

static void file_text(const char *key, const char *path)
{
    char text[4096];

    read_file(path, text, sizeof text);
    text[strcspn(text, "\n")] = '\0';
    json_pair(key, text);
}

/* /proc/net/dev: two lines of headings, then "  eth0: …" */
static void interfaces(void)
{
    static char text[16384];
    char *save = NULL;

    read_file("/proc/net/dev", text, sizeof text);
    json_key("interfaces");
    json_open('[');
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *end = strchr(line, ':');
        if (!end || strchr(line, '|'))
            continue;
        *end = '\0';
        json_text(line + strspn(line, " "));
    }
    json_close(']');
}

static void cgroup(void)
{
    char text[4096], *line;

    read_file("/proc/self/cgroup", text, sizeof text);
    line = strstr(text, "0::");
    if (line)
        line[strcspn(line, "\n")] = '\0';
    json_pair("cgroup", line ? line + 3 : "");
}

void report_kernel(void)
{
    json_key("processes");
    json_open('[');
    each_entry("/proc", process);
    json_close(']');
    cgroup();
    interfaces();
    file_text("oom_score_adj", "/proc/self/oom_score_adj");
    file_text("label", "/proc/self/attr/current");
}
