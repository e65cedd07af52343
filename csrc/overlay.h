/* overlay.h: an overlay mount of many layers, for the container's root and for the daemon's view of a stopped one.
 *
 * Layers are named relative to a base directory, which keeps the kernel's one page of mount options
 * from filling up: 64 hex digits a layer and 127 layers would not fit with absolute paths.
 *
 * Serves steps_root.c (in the child) and shim.c (in a thread of the daemon). Read next: overlay.c. */
#ifndef MINIDOCK_OVERLAY_H
#define MINIDOCK_OVERLAY_H

/* mount(2)s an overlay on `target`. lowers: ':'-joined, top first, relative to base. upper and work may be
 * empty together (a read-only view); options (','-joined) may be empty. Changes the working directory.
 * 0 or -errno; *what is set to the path concerned. */
int overlay_mount(const char *base, const char *lowers, const char *upper, const char *work, const char *options,
                  const char *target, const char **what);

#endif
