/* userns.h: user namespaces as fds, for the daemon: made, furnished with a network, tried out.
 *
 * Serves minidock/linux/shim.py. Read next: userns.c. */
#ifndef MINIDOCK_USERNS_H
#define MINIDOCK_USERNS_H

/* A new user namespace with these lines of /proc/PID/uid_map and gid_map. An fd of it, which keeps it, or -errno. */
int md_userns(const char *uid_map, const char *gid_map);

/* A new network namespace that belongs to a user namespace. An fd of it, or -errno. */
int md_netns_in(int userns);

/* Mounts an overlay of base/layers/lower and base/home/{upper,work} on base/home/place with shifted ids, where nobody sees
 * it, and makes a file in it. 0, or -errno when this kernel or this file system can't. */
int md_try_idmap(int userns, const char *base);

/* The calling thread makes files as this owner from now on, and keeps every right that it has. */
int md_act_as(unsigned uid, unsigned gid);

#endif
