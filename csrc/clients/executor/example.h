/* Examples as the executor sees them: a process for each, and how it ended. */
#ifndef EXECUTOR_EXAMPLE_H
#define EXECUTOR_EXAMPLE_H

#include <signal.h>

#include "executor/descriptors.h"
#include "executor/format.h"

struct example_host {
    struct descriptors baseline; /* open in a process before its first call */
    sigset_t signals;            /* blocked there */
    int close[2];                /* the executor's own descriptors, which a process is not to have */
};

/* What the executor has learned besides what stands in the area. */
struct example_end {
    uint32_t ended; /* EXECUTOR_ENDED_... */
    int32_t status;
    uint32_t processes;
};

/* Does the example at `offset` of the area's request: in the process that the last one has left waiting, or a new one.
 * Unless it stays, nothing of it is left afterwards. */
void example_run(const struct example_host *host, uint32_t offset, const struct executor_example *example,
                 struct example_end *end);

/* Ends the process that waits, if there is one. */
void example_abandon(void);

#endif
