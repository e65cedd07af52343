/* idmap.h: mounts that show shifted ids: what is root's on the disk is the user namespace's root's, and the other way.
 *
 * Serves step_overlay and step_tree (in the child, while it is still root of the host) and shim.c's probe.
 * Read next: idmap.c. */
#ifndef MINIDOCK_IDMAP_H
#define MINIDOCK_IDMAP_H

#include <sys/types.h>

/* Gives a detached mount the ids of a user namespace (an fd of it). 0 or -errno. */
int idmap_tree(int tree, int userns);

/* overlay_mount() with shifted layers, as a detached mount that is the result: an fd, or -errno with *what set. The
 * caller must have a private mount namespace. upper and work lie side by side in a directory that is root's. */
int idmap_overlay(int userns, const char *base, const char *lowers, const char *upper, const char *work,
                  const char *options, const char *target, const char **what);

/* The calling thread makes files as this owner from now on, and keeps every right that it has. 0 or -errno. */
int idmap_act_as(uid_t uid, gid_t gid);

#endif
