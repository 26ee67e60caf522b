/* vgpu-stress IMAGE TRACE THREADS SECONDS: many threads call both APIs in one process state. It prints one line and
 * ends with 1 if an answer was wrong, something was not given back, or a record was lost. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "stress/work.h"
#include "vgpu/wire.h"

enum { THREADS_MOST = 256 };

static double until;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void *run(void *data) {
    struct worker *self = data;
    self->calls++;
    if (vgpu_call_cuCtxSetCurrent(self->process, self->context) != 0) {
        self->wrong++;
    }
    while (now() < until) {
        work(self);
    }
    finish(self);
    self->calls++;
    vgpu_call_cuCtxSetCurrent(self->process, NULL);
    return NULL;
}

/* Records in the trace, and those that found no room. */
static uint64_t records(const char *path) {
    int fd = open(path, O_RDONLY);
    struct stat facts;
    if (fd < 0 || fstat(fd, &facts) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
    const char *at = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
    const struct vgpu_trace_header *header = (const struct vgpu_trace_header *)at;
    const struct vgpu_record *slots = (const struct vgpu_record *)(at + VGPU_TRACE_HEADER_SIZE);
    uint64_t found = header->dropped;
    for (uint64_t i = 0; i < header->capacity && i < header->next; i++) {
        found += slots[i].state == VGPU_SLOT_DONE;
    }
    return found;
}

int main(int count, char **arguments) {
    if (count != 5 || atoi(arguments[3]) < 1 || atoi(arguments[3]) > THREADS_MOST) {
        fprintf(stderr, "usage: vgpu-stress IMAGE TRACE THREADS SECONDS\n");
        return 2;
    }
    uint32_t threads = (uint32_t)atoi(arguments[3]);
    struct vgpu_process *process = vgpu_process_new(arguments[1], arguments[2]);
    CUcontext context = NULL;
    size_t before = 0;
    size_t after = 0;
    size_t total = 0;
    if (process == NULL || vgpu_call_cuInit(process, 0) != 0 || vgpu_call_nvmlInit_v2(process) != 0 ||
        vgpu_call_cuDevicePrimaryCtxRetain(process, &context, 0) != 0 ||
        vgpu_call_cuCtxSetCurrent(process, context) != 0 || vgpu_call_cuMemGetInfo_v2(process, &before, &total) != 0) {
        fprintf(stderr, "%s: cannot be initialised\n", arguments[1]);
        return 2;
    }
    uint64_t calls = 5;
    uint64_t inits = 2;
    uint64_t wrong = 0;
    const char *first_wrong = "nothing";
    static struct worker workers[THREADS_MOST];
    pthread_t ids[THREADS_MOST];
    until = now() + atof(arguments[4]);
    for (uint32_t i = 0; i < threads; i++) {
        workers[i].process = process;
        workers[i].context = context;
        workers[i].random = 0x9e3779b97f4a7c15ull * (i + 1);
        pthread_create(&ids[i], NULL, run, &workers[i]);
    }
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        calls += workers[i].calls;
        inits += workers[i].inits;
        wrong += workers[i].wrong;
        first_wrong = workers[i].first_wrong != NULL ? workers[i].first_wrong : first_wrong;
    }
    calls += 3;
    vgpu_call_cuMemGetInfo_v2(process, &after, &total);
    int references = vgpu_call_nvmlShutdown(process) == 0 && vgpu_call_nvmlShutdown(process) != 0;
    vgpu_process_free(process);
    uint64_t expected = calls + inits + 2; /* and one INIT, one GATE */
    uint64_t found = records(arguments[2]);
    printf("%llu calls, %llu wrong (%s), free memory %zu then %zu, references %s, %llu records of %llu\n",
           (unsigned long long)calls, (unsigned long long)wrong, first_wrong, before, after,
           references ? "even" : "odd", (unsigned long long)found, (unsigned long long)expected);
    return wrong != 0 || before != after || !references || found != expected;
}
