/* overlay.c: see overlay.h. The classic mount(2), because its data is one page and fsconfig(2)'s strings are 256 bytes.
 *
 * The kernel resolves lowerdir names from the working directory, hence the chdir. When even relative
 * names pass a page (some 58 layers of 64 hex digits), each layer is opened and named by its fd number
 * from /proc/self/fd: 3 characters a layer, enough for the kernel's limit of 500 layers.
 *
 * See: Documentation/filesystems/overlayfs.rst. Read next: step_overlay in steps_root.c. */
#include "overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "util.h"

#define MAX_LAYERS   500
#define OPTIONS_SIZE 4096 /* the kernel copies one page */

/* Appends text with a backslash before what separates options and layers. */
static void append_escaped(char *buffer, size_t size, const char *text)
{
    size_t at = strlen(buffer);
    for (; *text != '\0' && at + 2 < size; text++) {
        if (strchr(",:\\", *text) != NULL)
            buffer[at++] = '\\';
        buffer[at++] = *text;
    }
    buffer[at] = '\0';
}

/* -E2BIG as soon as something does not fit: a cut-off list of layers would be another image. */
static int append(char *buffer, size_t size, const char *text)
{
    size_t at = strlen(buffer);
    return snprintf(buffer + at, size - at, "%s", text) < (int)(size - at) ? 0 : -E2BIG;
}

/* "lowerdir=A:B:C,upperdir=U,workdir=W,OPTIONS". The layers' names are ours (hex digits and slashes); upper and
 * work lie below a data root that the user chose, and may hold a comma or a colon. */
static int render(char *buffer, const char *lowers, const char *upper, const char *work, const char *options)
{
    buffer[0] = '\0';
    int r = append(buffer, OPTIONS_SIZE, "lowerdir=");
    if (r == 0)
        r = append(buffer, OPTIONS_SIZE, lowers);
    if (r == 0 && upper[0] != '\0') {
        r = append(buffer, OPTIONS_SIZE, ",upperdir=");
        append_escaped(buffer, OPTIONS_SIZE, upper);
        if (r == 0)
            r = append(buffer, OPTIONS_SIZE, ",workdir=");
        append_escaped(buffer, OPTIONS_SIZE, work);
    }
    if (r == 0 && options[0] != '\0')
        r = append(buffer, OPTIONS_SIZE, ",");
    if (r == 0)
        r = append(buffer, OPTIONS_SIZE, options);
    return strlen(buffer) + 3 >= OPTIONS_SIZE ? -E2BIG : r;
}

/* Opens each layer (from the working directory) and writes the fds' numbers as a new list. */
static int number_layers(const char *lowers, char *list, size_t size, int *fds, size_t *count)
{
    for (const char *at = lowers; *at != '\0';) {
        char name[PATH_MAX], number[16];
        size_t length = strcspn(at, ":");
        if (length == 0 || length >= sizeof(name) || *count == MAX_LAYERS)
            return -EINVAL;
        memcpy(name, at, length);
        name[length] = '\0';
        int fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return -errno;
        fds[*count] = fd;
        snprintf(number, sizeof(number), *count == 0 ? "%d" : ":%d", fd);
        (*count)++;
        if (append(list, size, number) < 0)
            return -E2BIG;
        at += length + (at[length] == ':');
    }
    return 0;
}

/* chdir to /proc/self/fd makes "12:13:14" three names that lead to the open layers. It must be the host's /proc, and
 * is: this runs before pivot_root. */
static int mount_by_number(const char *lowers, const char *upper, const char *work, const char *options,
                           const char *target)
{
    char list[OPTIONS_SIZE] = "", data[OPTIONS_SIZE];
    int fds[MAX_LAYERS];
    size_t count = 0;
    int r = number_layers(lowers, list, sizeof(list), fds, &count);
    if (r == 0)
        r = render(data, list, upper, work, options);
    if (r == 0 && (chdir("/proc/self/fd") < 0 || mount("overlay", target, "overlay", 0, data) < 0))
        r = -errno;
    while (count > 0)
        close(fds[--count]);
    return r;
}

/* mount(2) says EINVAL to nearly everything; the kernel's log has the reason. ENOENT: a layer is missing; EBUSY: the
 * upper directory is in use by another mount (index=on); EPERM: a user namespace without the right. */
int overlay_mount(const char *base, const char *lowers, const char *upper, const char *work, const char *options,
                  const char *target, const char **what)
{
    char data[OPTIONS_SIZE];
    *what = base;
    if (chdir(base) < 0)
        return -errno;
    *what = target;
    int r = render(data, lowers, upper, work, options);
    if (r == 0)
        r = mount("overlay", target, "overlay", 0, data) < 0 ? -errno : 0;
    else
        r = mount_by_number(lowers, upper, work, options, target);
    return r;
}
