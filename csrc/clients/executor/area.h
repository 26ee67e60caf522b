/* The memory that the executor shares with the process of an example. Neither needs a descriptor for it, so it outlives
 * a library that closes all of them, and the results up to a crash are there after the crash. */
#ifndef EXECUTOR_AREA_H
#define EXECUTOR_AREA_H

#include "executor/format.h"

enum area_stage {
    AREA_CALLING = 0, /* in call number `call`, or between it and the one before */
    AREA_CHECKING,    /* all calls have returned */
    AREA_WAITING,     /* for the next step */
    AREA_LEAVING,
    AREA_FULL, /* no room for a result */
};

struct area {
    uint32_t step;    /* futex: the executor counts up when a request is there for the process */
    uint32_t done;    /* the step that the process has done */
    uint32_t stage;   /* enum area_stage */
    uint32_t example; /* where in `request` the process finds its example */
    uint32_t call;
    uint32_t results;
    uint32_t descriptors;
    uint32_t used; /* bytes of `result` that are whole */
    unsigned char request[EXECUTOR_REQUEST_BYTES];
    unsigned char result[EXECUTOR_RESULT_BYTES];
};

extern struct area *area;

/* What a name of REQUEST_FUNCTIONS is, NULL if no library has it. */
typedef uint64_t executor_function(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
extern executor_function *functions[EXECUTOR_FUNCTIONS_MAX];

/* Says on the stderr that the executor was started with what is wrong, and ends it: the peer broke the format. */
_Noreturn void executor_refuse(const char *reason);

#endif
