/* A library whose constructor and destructor look at the GPU, as SITUATION_LIBRARY says: in a thread of its own if it
 * is "joined", while another thread calls if it is "together". */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>

#include "situation_look.h"

static void *in_thread(void *unused) {
    (void)unused;
    look_and_tell("thread of a constructor");
    return NULL;
}

__attribute__((constructor)) static void first(void) {
    const char *way = getenv("SITUATION_LIBRARY");
    if (way == NULL) {
        return;
    }
    if (strcmp(way, "joined") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, in_thread, NULL);
        pthread_join(thread, NULL);
    } else if (strcmp(way, "together") == 0) {
        extern volatile int situation_in_constructor __attribute__((weak));
        situation_in_constructor = 1;
        usleep(20000);
    }
    look_and_tell("constructor");
}

__attribute__((destructor)) static void last(void) {
    if (getenv("SITUATION_LIBRARY") != NULL) {
        look_and_tell("destructor of a library");
    }
}
