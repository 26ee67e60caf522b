/* The process of an example. */
#ifndef EXECUTOR_CHILD_H
#define EXECUTOR_CHILD_H

#include <stdint.h>

#include "executor/descriptors.h"

/* Does the calls of the area's example, and those of further steps for as long as an example says that it stays.
 * `baseline`: the descriptors that are open before the first call. `executor`: the process to tell of a done step. */
_Noreturn void child_run(const struct descriptors *baseline, int executor);

#endif
