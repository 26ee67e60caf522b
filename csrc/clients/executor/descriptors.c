/* poll(2) answers POLLNVAL for what is not open: one system call tells of all numbers below the limit. */
#include "executor/descriptors.h"

#include <poll.h>
#include <string.h>
#include <sys/resource.h>

#include "ollama/raw.h"

static struct pollfd asked[DESCRIPTORS_MOST];
static long prepared; /* so many of them have their number: before the first fork those that all examples need */

/* Asks for all numbers below the limit; answers how many these are, or -errno. A library may have raised the limit, or
 * lowered it: poll takes no more than that. */
static long ask(void) {
    struct rlimit limit;
    long failure = raw_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&limit);
    if (failure == 0 && limit.rlim_cur < DESCRIPTORS_LIMIT && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < DESCRIPTORS_LIMIT ? limit.rlim_max : DESCRIPTORS_LIMIT;
        failure = raw_call(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)&limit, 0);
    }
    if (failure < 0) {
        return failure;
    }
    long count = limit.rlim_cur < DESCRIPTORS_MOST ? (long)limit.rlim_cur : DESCRIPTORS_MOST;
    for (; prepared < count; prepared++) {
        asked[prepared].fd = (int)prepared;
    }
    failure = raw_call(SYS_poll, (long)asked, count, 0, 0);
    return failure < 0 ? failure : count;
}

static int is_open(long number) {
    return (asked[number].revents & POLLNVAL) == 0;
}

int descriptors_start(struct descriptors *known) {
    struct rlimit limit;
    memset(known, 0, sizeof(*known));
    long failure = raw_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&limit);
    if (failure == 0 && limit.rlim_cur > DESCRIPTORS_LIMIT) {
        limit.rlim_cur = DESCRIPTORS_LIMIT;
        failure = raw_call(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)&limit, 0);
    }
    long count = failure < 0 ? failure : ask();
    for (long number = 0; number < count && number < DESCRIPTORS_LIMIT; number++) {
        known->open[number / 64] |= (uint64_t)is_open(number) << (number % 64);
    }
    return count < 0 ? (int)count : 0;
}

void descriptors_forget(struct descriptors *known, int number) {
    known->open[number / 64] &= ~((uint64_t)1 << (number % 64));
}

void descriptors_compare(const struct descriptors *known, descriptor_change *tell) {
    long count = ask();
    for (long number = 0; number < count; number++) {
        int was = number < DESCRIPTORS_LIMIT && (known->open[number / 64] >> (number % 64) & 1) != 0;
        if (is_open(number) != was) {
            tell((int)number, !was);
        }
    }
}
