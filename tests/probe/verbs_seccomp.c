/* verbs_seccomp.c: loading a filter, and the roads to a socket that a filter must watch. Read next: syscalls.c. */
#include "probe.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Without no_new_privs, as the container's start does it; needs CAP_SYS_ADMIN. */
int verb_filter(int argc, char **argv)
{
    static char program[4096 * sizeof(struct sock_filter) + 1];
    long size = argc > 1 ? read_file(argv[0], program, sizeof program) : -EINVAL;
    struct sock_fprog filter = {.len = (unsigned short)(size / (long)sizeof(struct sock_filter)),
                                .filter = (struct sock_filter *)program};

    if (size < 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0) {
        perror("filter");
        return 1;
    }
    return dispatch(argc - 1, argv + 1);
}

/* The family goes to the kernel as a whole register; the kernel looks at the lower half. */
int verb_socket(int argc, char **argv)
{
    unsigned long long family = argc > 0 ? strtoull(argv[0], NULL, 0) : 0;
    long fd = syscall(SYS_socket, family, (long)SOCK_STREAM, 0L);

    print_one("family", (long long)family, "socket", fd < 0 ? errno : 0);
    return fd < 0;
}

/* int 0x80 takes the numbers of 32-bit x86, from any program: 102 is socketcall, its call 1 is socket. */
int verb_socketcall(int argc, char **argv)
{
#ifdef __x86_64__
    unsigned *arguments = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    long result = 102;

    if (arguments == MAP_FAILED)
        return 1;
    arguments[0] = argc > 0 ? (unsigned)strtoul(argv[0], NULL, 0) : 0;
    arguments[1] = SOCK_STREAM;
    arguments[2] = 0;
    __asm__ volatile("int $0x80" : "+a"(result) : "b"(1L), "c"(arguments) : "memory", "r8", "r9", "r10", "r11");
    print_one("family", arguments[0], "socket", result < 0 ? (int)-result : 0);
#else
    print_one("family", argc > 0 ? atol(argv[0]) : 0, "socket", ENOSYS);
#endif
    return 0;
}
