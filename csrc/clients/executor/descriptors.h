/* Which descriptors of a process are open, without /proc: in a new process the first look there costs more than all
 * else that is done around the calls. */
#ifndef EXECUTOR_DESCRIPTORS_H
#define EXECUTOR_DESCRIPTORS_H

#include <stdint.h>

enum {
    DESCRIPTORS_LIMIT = 256,  /* RLIMIT_NOFILE of the examples, which they can raise */
    DESCRIPTORS_MOST = 65536, /* higher numbers go unnoticed */
};

struct descriptors {
    uint64_t open[DESCRIPTORS_LIMIT / 64];
};

/* Told of each descriptor that is open but was not, or was and is not (`open` 0). */
typedef void descriptor_change(int number, int open);

/* Sets the limit, and takes down what is open. Answers 0, or -errno. */
int descriptors_start(struct descriptors *known);
void descriptors_forget(struct descriptors *known, int number);

/* Compares what is open now. */
void descriptors_compare(const struct descriptors *known, descriptor_change *tell);

#endif
