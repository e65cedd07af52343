/* shim.h: what minidock._shim exports of our own; libseccomp's functions stand beside it in shim_build.py.
 *
 * All return -errno on failure, else 0, a pid or an fd. Serves minidock/linux/shim.py, where each has a
 * Python function with the units and the reasons. Read next: shim.c. */
#ifndef MINIDOCK_SHIM_H
#define MINIDOCK_SHIM_H

/* Starts exe_fd (a sealed memfd) with fds[i] as its fd 3 + i, 0 to 2 on /dev/null, in a session of its own, with default
 * signals and an empty environment. The pid; the caller waits for it. */
int md_spawn(int exe_fd, const int *fds, int nfds, char *const argv[]);

int md_openat2(int dirfd, const char *path, int flags, int mode, unsigned long long resolve);

/* Of the calling thread. */
int md_setns(int fd, int nstype);
int md_unshare(int flags);

/* The layers as one read-only tree that is mounted nowhere: lowers ':'-joined, top first, relative to base.
 * An O_PATH fd of its root. */
int md_overlay_view(const char *base, const char *lowers);

#endif
