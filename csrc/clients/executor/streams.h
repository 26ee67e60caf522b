/* stdout and stderr of the examples. */
#ifndef EXECUTOR_STREAMS_H
#define EXECUTOR_STREAMS_H

#include "executor/format.h"

/* What was written to a stream. */
struct stream {
    uint32_t bytes;
    uint32_t kept;
    char text[EXECUTOR_STREAM_BYTES];
};

/* Makes both memory that takes what an example writes, however much, and blocks nobody. Answers a descriptor for the
 * stderr that the executor was started with, or -1. */
int streams_collect(void);

/* Takes out what was written to a stream; the next example finds it empty. */
void stream_empty(int fd, struct stream *stream);

#endif
