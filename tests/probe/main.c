/* main.c: picks the verb. `probe`, or a name that is no verb of ours, prints the report: so the probe may be installed
 * under any name (/bin/sh, say) and still answer. Read next: verbs.c. */
#include "probe.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    verb *run;
    const char *help;
} VERBS[] = {
    {"alloc", verb_alloc, "MIB: touch that much memory"},
    {"cat", verb_cat, "copy stdin to stdout until its end"},
    {"exit", verb_exit, "N"},
    {"fds", verb_fds, "the open descriptors only, one a line"},
    {"filter", verb_filter, "FILE VERB…: load a seccomp filter, then do VERB"},
    {"fork", verb_fork, "N: have N children at once"},
    {"hugepages", verb_hugepages, "N [noreserve]: map and touch N of 2 MiB, then hold them for ever"},
    {"kill", verb_kill, "SIGNAL: to itself"},
    {"mknod", verb_mknod, "PATH c|b MAJOR MINOR: make a node and try to open it"},
    {"open", verb_open, "PATH [r|w|rw]: try to open it"},
    {"orphans", verb_orphans, "N: leave N dead grandchildren to pid 1, count those it reaps"},
    {"pause", verb_pause, "do nothing for ever"},
    {"socket", verb_socket, "FAMILY: try to make one, FAMILY of up to 64 bits"},
    {"socketcall", verb_socketcall, "FAMILY: the same as a 32-bit program would by int 0x80"},
    {"spin", verb_spin, "SECONDS: burn a processor"},
    {"syscalls", verb_syscalls, "[LAST]: the answer to each system call with bad arguments"},
    {"trap", verb_trap, "CODE [SIGNAL]: print each signal; exit with CODE at SIGNAL, or at the first"},
    {"winsize", verb_winsize, "print the terminal's size, now and whenever it changes"},
    {"write", verb_write, "BYTES [stderr]: so many bytes, as fast as they go"},
};

static int report(int argc, char **argv)
{
    json_open('{');
    report_process(argc, argv);
    report_identity();
    report_files();
    report_kernel();
    json_close('}');
    json_end();
    return 0;
}

static int help(void)
{
    for (size_t i = 0; i < sizeof VERBS / sizeof *VERBS; i++)
        printf("probe %s %s\n", VERBS[i].name, VERBS[i].help);
    return 0;
}

int dispatch(int argc, char **argv)
{
    for (size_t i = 0; argc > 0 && i < sizeof VERBS / sizeof *VERBS; i++) {
        if (strcmp(argv[0], VERBS[i].name) == 0)
            return VERBS[i].run(argc - 1, argv + 1);
    }
    return report(argc, argv);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "help") == 0)
        return help();
    return argc > 1 ? dispatch(argc - 1, argv + 1) : report(argc, argv);
}
