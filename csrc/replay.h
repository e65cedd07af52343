/* replay.h: output for a client that is behind, read back from the container's log.
 *
 * The log is the buffer that costs nothing: what a client's socket would not take now is there already, however much it
 * becomes, and so neither the container nor the log nor the other clients wait for it. A client that is behind has a
 * place in the log, and is live again when it has come to the end of the file and has got the beginnings of lines that
 * are not in it yet.
 *
 * A place stays where it is because nobody rotates the log while somebody reads it back (log.h, read_back). And since the
 * log has whole lines only, a place also says how much of the line under way the client had got before.
 *
 * Read next: client.c, which decides who is behind. */
#ifndef MINIDOCK_REPLAY_H
#define MINIDOCK_REPLAY_H

#include "log.h"

#include <stdbool.h>
#include <stdint.h>

struct replay {
    bool on;
    unsigned number; /* of the rotated file, 0 for the one that is written */
    uint64_t offset;
    size_t skip[2]; /* bytes of each stream that come next in the log and have been had */
};

/* From here on: to be called before the log takes what comes next. */
void replay_from_now(struct replay *replay, const struct log *log);

/* From the beginning of the oldest file. Nothing where no log is kept. */
void replay_from_start(struct replay *replay, const struct log *log);

/* One step on: reads the log and puts at most `room` bytes of the streams that `flags` names (CLIENT_) into `out`, in
 * frames or raw. Returns how many bytes that gave, which may be none. The last step, after which the client has all
 * there is, ends the replay. Uses the log's batch. `room` is enough for both unfinished lines. */
size_t replay_step(struct replay *replay, const struct log *log, unsigned flags, unsigned char *out, size_t room);

#endif
