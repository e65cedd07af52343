/* exitrecord.h: the file that says how a container ended, for whoever asks later.
 *
 * One JSON line in the monitor's directory: {"code":137,"signal":9,"finished":"2026-11-22T00:00:00.123456789Z"}. It is
 * written beside and renamed into place, so that it is either whole or not there; a container whose monitor was killed
 * has none, and the daemon reports that as an error, never as exit code 0.
 *
 * Read next: monitor.c (the order of things at an exit), minidock/runtime/monitor.py (the reader). */
#ifndef MINIDOCK_EXITRECORD_H
#define MINIDOCK_EXITRECORD_H

struct exit_status {
    int code;   /* 0 to 255: what it passed to exit(2), or 128 + signal */
    int signal; /* what killed it; 0 if it exited */
};

/* From the status of wait(2). */
struct exit_status exit_status_of(int wait_status);

/* Writes `exit` in the directory; the time is now. 0 or -errno. */
int exit_record_write(int dir_fd, struct exit_status status);

#endif
