/* Does calls and writes what came of them into the shared area.
 *
 * Nothing here trusts the library that is called: it may crash, take away every descriptor, fork and return twice, or
 * write beyond the memory that it was given. */
#include "executor/child.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "executor/area.h"
#include "ollama/raw.h"

enum { EDGE = EXECUTOR_BUFFER_EDGE, EDGE_MARK = 0xa5, ALIGNMENT = 16 };

struct invocation {
    executor_function *function;
    uint64_t argument[EXECUTOR_ARGUMENTS_MAX];
    uint64_t value;
    int error;
};

struct buffer {
    struct executor_argument argument;
    const unsigned char *given; /* of the request */
    unsigned char *start;
    uint8_t number; /* which argument of the call */
};

struct worker {
    int started;
    pthread_t thread;
    sem_t go;
    sem_t done;
    struct invocation *invocation;
};

static long own_pid;
static uint64_t registers[EXECUTOR_REGISTERS_MAX];
static struct worker workers[EXECUTOR_THREADS_MAX];
static _Alignas(ALIGNMENT) unsigned char memory[EXECUTOR_BUFFERS_BYTES];

/* Results of the step that is being done; area->used counts those of whole calls. */
static uint32_t written;

static void emit(const void *bytes, size_t size) {
    if (size == 0) {
        return;
    }
    if (size > EXECUTOR_RESULT_BYTES - written) {
        area->stage = AREA_FULL;
        raw_call(SYS_exit_group, 0, 0, 0, 0);
    }
    memcpy(area->result + written, bytes, size);
    written += (uint32_t)size;
}

/* What is read here has been checked by the executor. */
static void take(const unsigned char **at, void *record, size_t size) {
    memcpy(record, *at, size);
    *at += size;
}

static void invoke(struct invocation *call) {
    const uint64_t *a = call->argument;
    errno = EXECUTOR_ERRNO_MARK;
    call->value = call->function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    call->error = errno;
    /* A library that forks returns twice; the example goes on in the process that it began in. */
    if (raw_call(SYS_getpid, 0, 0, 0, 0) != own_pid) {
        raw_call(SYS_exit_group, 0, 0, 0, 0);
    }
}

static void wait_for(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0) {
    }
}

static void *work(void *of) {
    struct worker *worker = of;
    for (;;) {
        wait_for(&worker->go);
        invoke(worker->invocation);
        sem_post(&worker->done);
    }
    return NULL;
}

static void invoke_in(uint8_t thread, struct invocation *call) {
    struct worker *worker = &workers[thread];
    if (thread == 0) {
        invoke(call);
        return;
    }
    if (!worker->started) {
        sem_init(&worker->go, 0, 0);
        sem_init(&worker->done, 0, 0);
        if (pthread_create(&worker->thread, NULL, work, worker) != 0) {
            abort();
        }
        worker->started = 1;
    }
    worker->invocation = call;
    sem_post(&worker->go);
    wait_for(&worker->done);
}

/* Puts a buffer with its two edges at `*used` of the memory, filled as the argument says. */
static void place_buffer(struct buffer *buffer, size_t *used) {
    size_t size = buffer->argument.size;
    unsigned char *edge = memory + *used;
    memset(edge, EDGE_MARK, EDGE);
    buffer->start = edge + EDGE;
    memcpy(buffer->start, buffer->given, buffer->argument.given);
    memset(buffer->start + buffer->argument.given, EXECUTOR_MARK, size - buffer->argument.given);
    memset(buffer->start + size, EDGE_MARK, EDGE);
    *used += (2 * EDGE + size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static int edge_kept(const unsigned char *edge) {
    for (int i = 0; i < EDGE; i++) {
        if (edge[i] != EDGE_MARK) {
            return 0;
        }
    }
    return 1;
}

/* How many bytes there are up to the last one that changed. */
static uint16_t changed(const struct buffer *buffer) {
    size_t size = buffer->argument.size;
    while (size > 0) {
        unsigned char before = size <= buffer->argument.given ? buffer->given[size - 1] : EXECUTOR_MARK;
        if (buffer->start[size - 1] != before) {
            break;
        }
        size--;
    }
    return (uint16_t)size;
}

static void emit_output(const struct buffer *buffer, struct executor_result *result) {
    uint16_t size = changed(buffer);
    struct executor_output output = {.argument = buffer->number, .size = size};
    output.flags = (uint8_t)((edge_kept(buffer->start - EDGE) ? 0 : EXECUTOR_OUTPUT_BEFORE) |
                             (edge_kept(buffer->start + buffer->argument.size) ? 0 : EXECUTOR_OUTPUT_BEHIND));
    if (size == 0 && output.flags == 0) {
        return;
    }
    uint64_t first = 0;
    memcpy(&first, buffer->start, buffer->argument.size < sizeof(first) ? buffer->argument.size : sizeof(first));
    if (size > 0 && buffer->argument.place < EXECUTOR_REGISTERS_MAX) {
        registers[buffer->argument.place] = first;
    }
    const char *text = NULL;
    if (size > 0 && buffer->argument.kind == EXECUTOR_ARGUMENT_TEXT && first != 0) {
        text = (const char *)(uintptr_t)first;
        output.text = (uint8_t)strnlen(text, EXECUTOR_TEXT_BYTES);
    }
    emit(&output, sizeof(output));
    emit(buffer->start, size);
    emit(text, output.text);
    result->outputs++;
}

static void emit_result(const struct executor_call *call, const struct invocation *done, const struct buffer *buffers,
                        int count) {
    uint32_t start = written;
    struct executor_result result = {.value = done->value, .error = done->error};
    const char *text = NULL;
    if ((call->flags & EXECUTOR_CALL_RETURNS_TEXT) != 0 && done->value != 0) {
        text = (const char *)(uintptr_t)done->value;
        result.text = (uint8_t)strnlen(text, EXECUTOR_TEXT_BYTES);
    }
    emit(&result, sizeof(result));
    emit(text, result.text);
    for (int i = 0; i < count; i++) {
        emit_output(&buffers[i], &result);
    }
    memcpy(area->result + start, &result, sizeof(result));
}

/* One call: `*at` is behind its arguments afterwards. */
static void do_call(const unsigned char **at) {
    struct executor_call call;
    struct invocation invocation = {0};
    struct buffer buffers[EXECUTOR_ARGUMENTS_MAX];
    int count = 0;
    size_t used = 0;
    take(at, &call, sizeof(call));
    for (uint8_t i = 0; i < call.arguments; i++) {
        struct buffer *buffer = &buffers[count];
        struct executor_argument *argument = &buffer->argument;
        take(at, argument, sizeof(*argument));
        if (argument->kind == EXECUTOR_ARGUMENT_NUMBER) {
            invocation.argument[i] = argument->value;
        } else if (argument->kind == EXECUTOR_ARGUMENT_KEPT) {
            invocation.argument[i] = registers[argument->place];
        } else {
            buffer->number = i;
            buffer->given = *at;
            *at += argument->given;
            place_buffer(buffer, &used);
            invocation.argument[i] = (uintptr_t)buffer->start;
            count++;
        }
    }
    invocation.function = functions[call.function];
    if (invocation.function == NULL) {
        struct executor_result missing = {.flags = EXECUTOR_RESULT_MISSING, .error = EXECUTOR_ERRNO_MARK};
        emit(&missing, sizeof(missing));
        return;
    }
    invoke_in(call.thread, &invocation);
    emit_result(&call, &invocation, buffers, count);
}

static void tell_descriptor(int number, int open) {
    if (area->descriptors == EXECUTOR_DESCRIPTORS_MAX) {
        return;
    }
    char link[32];
    char target[EXECUTOR_TEXT_BYTES + 1];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", number);
    long length = open ? raw_call(SYS_readlinkat, AT_FDCWD, (long)link, (long)target, EXECUTOR_TEXT_BYTES) : 0;
    struct executor_descriptor change = {number, (uint8_t)open, (uint8_t)(length > 0 ? length : 0)};
    emit(&change, sizeof(change));
    emit(target, change.text);
    area->descriptors++;
}

static void do_example(const struct executor_example *example, const struct descriptors *baseline) {
    const unsigned char *at = area->request + area->example + sizeof(*example);
    area->stage = AREA_CALLING;
    written = 0;
    for (uint32_t i = 0; i < example->calls; i++) {
        area->call = i;
        do_call(&at);
        area->used = written;
        area->results = i + 1;
    }
    area->call = example->calls;
    area->stage = AREA_CHECKING;
    fflush(NULL);
    descriptors_compare(baseline, tell_descriptor);
    area->used = written;
}

/* Waits for the next step, without a descriptor: the library may have closed all. */
static void wait_for_step(uint32_t done, int executor) {
    area->stage = AREA_WAITING;
    __atomic_store_n(&area->done, done, __ATOMIC_RELEASE);
    raw_call(SYS_kill, executor, SIGUSR1, 0, 0);
    while (__atomic_load_n(&area->step, __ATOMIC_ACQUIRE) == done) {
        raw_call(SYS_futex, (long)&area->step, FUTEX_WAIT, done, 0);
    }
}

void child_run(const struct descriptors *baseline, int executor) {
    struct executor_example example;
    own_pid = raw_call(SYS_getpid, 0, 0, 0, 0);
    for (;;) {
        uint32_t step = __atomic_load_n(&area->step, __ATOMIC_ACQUIRE);
        memcpy(&example, area->request + area->example, sizeof(example));
        do_example(&example, baseline);
        if ((example.flags & EXECUTOR_EXAMPLE_STAYS) == 0) {
            break;
        }
        wait_for_step(step, executor);
    }
    area->stage = AREA_LEAVING;
    if ((example.flags & EXECUTOR_EXAMPLE_EXITS) != 0) {
        exit(EXIT_SUCCESS);
    }
    raw_call(SYS_exit_group, EXIT_SUCCESS, 0, 0, 0);
    __builtin_unreachable();
}
