/* files.c: reading a small file and walking a directory, see probe.h. */
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

long read_file(const char *path, char *buffer, size_t capacity)
{
    size_t length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    buffer[0] = '\0';
    if (fd < 0)
        return -errno;
    while (length < capacity - 1) {
        ssize_t n = read(fd, buffer + length, capacity - 1 - length);
        if (n < 0) {
            int error = errno;
            close(fd);
            return -error;
        }
        if (n == 0)
            break;
        length += (size_t)n;
    }
    buffer[length] = '\0';
    close(fd);
    return (long)length;
}

long each_entry(const char *path, void (*visit)(const char *directory, const char *name))
{
    long count = 0;
    DIR *directory = opendir(path);

    if (!directory)
        return -errno;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        if (visit)
            visit(path, entry->d_name);
    }
    closedir(directory);
    return count;
}
