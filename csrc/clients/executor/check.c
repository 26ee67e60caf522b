/* An example that breaks the format ends the executor: its peer is wrong about everything that follows as well. */
#include "executor/check.h"

#include <stddef.h>
#include <string.h>

#include "executor/area.h"

static void take(const unsigned char **at, const unsigned char *end, void *record, size_t size) {
    if (size > (size_t)(end - *at)) {
        executor_refuse("a record of the request is cut");
    }
    memcpy(record, *at, size);
    *at += size;
}

/* Answers how much of the call's memory a buffer takes. */
static size_t check_argument(const unsigned char **at, const unsigned char *end) {
    struct executor_argument argument;
    take(at, end, &argument, sizeof(argument));
    switch (argument.kind) {
    case EXECUTOR_ARGUMENT_NUMBER:
        return 0;
    case EXECUTOR_ARGUMENT_KEPT:
        if (argument.place >= EXECUTOR_REGISTERS_MAX) {
            executor_refuse("an argument is in no register");
        }
        return 0;
    case EXECUTOR_ARGUMENT_BUFFER:
    case EXECUTOR_ARGUMENT_TEXT:
        if (argument.given > argument.size || argument.given > end - *at) {
            executor_refuse("a buffer has less room than bytes");
        }
        *at += argument.given;
        return argument.size + 3 * (size_t)EXECUTOR_BUFFER_EDGE;
    default:
        executor_refuse("an argument is of no kind");
    }
}

static void check_calls(const unsigned char *at, const unsigned char *end, uint32_t calls, uint32_t functions_known) {
    for (uint32_t i = 0; i < calls; i++) {
        struct executor_call call;
        size_t used = 0;
        take(&at, end, &call, sizeof(call));
        if (call.function >= functions_known || call.thread >= EXECUTOR_THREADS_MAX ||
            call.arguments > EXECUTOR_ARGUMENTS_MAX) {
            executor_refuse("a call is of no function, in no thread, or has too many arguments");
        }
        for (uint32_t k = 0; k < call.arguments; k++) {
            used += check_argument(&at, end);
        }
        if (used > EXECUTOR_BUFFERS_BYTES) {
            executor_refuse("the buffers of a call take more than BUFFERS_BYTES");
        }
    }
    if (at != end) {
        executor_refuse("an example is longer than its calls");
    }
}

void check_example(const unsigned char **at, const unsigned char *end, uint32_t functions_known,
                   struct executor_example *example) {
    take(at, end, example, sizeof(*example));
    if (example->size > end - *at) {
        executor_refuse("an example is cut");
    }
    check_calls(*at, *at + example->size, example->calls, functions_known);
    *at += example->size;
}
