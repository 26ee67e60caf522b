/* situation WHAT cold|warm|soon [LIBRARY, or small]: looks at the GPU where few programs do. "warm": it has looked in
 * main before. "soon": it has not, and has 0.3 s. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "situation_look.h"

enum { LOOPERS = 3, FORKS = 40, INTERRUPTIONS = 300 };

volatile int situation_in_constructor; /* set by the library */

static const char *what;
static volatile int stop;
static volatile int handled;
static volatile int small;  /* the handler looks at a file of its own only */
static struct look *shared; /* with children of all kinds */

static void *looker(void *unused) {
    (void)unused;
    look_and_tell("thread");
    return NULL;
}

static void in_thread(void *(*work)(void *), void *with) {
    pthread_t thread;
    pthread_create(&thread, NULL, work, with);
    pthread_join(thread, NULL);
}

static void *beside_a_constructor(void *unused) {
    (void)unused;
    while (!situation_in_constructor) {
        usleep(100);
    }
    look_and_tell("beside a constructor");
    return NULL;
}

static int in_dlopen(const char *library, int together) {
    pthread_t thread;
    if (together) {
        pthread_create(&thread, NULL, beside_a_constructor, NULL);
    }
    void *handle = dlopen(library, RTLD_NOW);
    if (together) {
        pthread_join(thread, NULL);
    }
    if (handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    return dlclose(handle);
}

static void handler(int signal) {
    (void)signal;
    if (small) {
        shared->own = close(open("/etc/passwd", O_RDONLY)) == 0;
    } else {
        look(shared);
    }
    handled++;
}

static void handle(int signal, size_t stack_size) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    /* Its lower end is a page that may not be touched. */
    char *room = mmap(NULL, 4096 + stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(room, 4096, PROT_NONE);
    stack_t stack = {.ss_sp = room + 4096, .ss_size = stack_size};
    sigaltstack(&stack, NULL);
    sigaction(signal, &action, NULL);
}

/* The alternate stack has the size that libc advises. A program that never looks at the GPU may have the constant of
 * old headers in its place. */
static int in_a_handler(const char *size) {
    small = strcmp(size, "small") == 0;
    handle(SIGUSR1, small ? 8192 : (size_t)(sysconf(_SC_SIGSTKSZ) + 4095) / 4096 * 4096);
    raise(SIGUSR1);
    if (small) {
        printf("handler: own %d\n", shared->own);
    } else {
        tell("handler", shared);
    }
    return 0;
}

static int sees_all(const struct look *seen) {
    return seen->cuda == 0 && seen->devices == 1 && seen->nvml == 0 && seen->boards == 1 && seen->opened &&
           seen->accessed && seen->device && seen->own;
}

/* In a call of one library of the driver, a second one of the same library is refused; the rest is seen. */
static int is_refused(const struct look *seen) {
    int by_cuda = seen->cuda == 3 && seen->devices_answer == 3 && seen->devices == -1;
    int by_nvml = seen->nvml == 1 && seen->boards_answer == 1 && seen->boards == 99;
    return (by_cuda || seen->devices == 1) && (by_nvml || seen->boards == 1) && seen->opened && seen->accessed &&
           seen->device && seen->own;
}

/* A handler that comes at any place of a call, again and again. In a call of the driver it is refused another one, as
 * the lock is its own thread's; files are seen in any case. */
static int in_interrupted_calls(void) {
    struct look seen;
    int wrong = 0;
    handle(SIGALRM, 65536);
    for (int i = 0; i < INTERRUPTIONS; i++) {
        /* Once each, so that no handler is the next one's only victim. */
        struct itimerval soon = {{0, 0}, {0, 20 + i * 7 % 100}};
        setitimer(ITIMER_REAL, &soon, NULL);
        while (handled == i) {
            look(&seen);
            wrong += !sees_all(&seen);
        }
        wrong += !sees_all(shared) && !is_refused(shared);
    }
    tell("interrupted", &seen);
    printf("wrong %d\n", wrong);
    return 0;
}

static int in_a_vfork_child(void) {
    int status = 0;
    pid_t child = vfork();
    if (child == 0) {
        look(shared);
        _exit(7);
    }
    waitpid(child, &status, 0);
    tell("vfork child", shared);
    look_and_tell("its parent");
    return status != 7 << 8;
}

static void *loop(void *unused) {
    (void)unused;
    while (!stop) {
        struct look seen;
        look(&seen);
    }
    return NULL;
}

/* Forks while others are inside of calls. */
static int in_forked_children(void) {
    pthread_t threads[LOOPERS];
    int good = 0;
    for (int i = 0; i < LOOPERS; i++) {
        pthread_create(&threads[i], NULL, loop, NULL);
    }
    for (int i = 0; i < FORKS; i++) {
        int status = 0;
        usleep(200);
        pid_t child = fork();
        if (child == 0) {
            alarm(5);
            look(shared);
            _exit(0);
        }
        waitpid(child, &status, 0);
        good += status == 0 && shared->opened;
    }
    stop = 1;
    for (int i = 0; i < LOOPERS; i++) {
        pthread_join(threads[i], NULL);
    }
    tell("forked child", shared);
    look_and_tell("its parent");
    printf("good %d\n", good);
    return 0;
}

static pthread_key_t key;

static void key_destructor(void *unused) {
    (void)unused;
    look_and_tell("key destructor");
}

static void *with_a_key(void *value) {
    pthread_setspecific(key, value);
    return NULL;
}

static void at_exit(void) {
    if (strcmp(what, "exit") == 0) {
        look_and_tell("atexit");
    }
}

__attribute__((destructor)) static void last(void) {
    if (what != NULL && strcmp(what, "exit") == 0) {
        look_and_tell("destructor");
    }
}

#ifdef PREINIT
static void before_all(void) {
    look_and_tell("preinit");
}
__attribute__((section(".preinit_array"), used)) static void (*const preinit)(void) = before_all;
#endif

int main(int count, char **words) {
    if (strcmp(words[2], "soon") == 0) {
        ualarm(300000, 0);
    } else {
        alarm(20);
    }
    what = words[1];
    const char *last_word = words[count - 1];
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (strcmp(words[2], "warm") == 0) {
        look_and_tell("main");
    }
    if (strcmp(what, "main") == 0) {
        look_and_tell("main");
    } else if (strcmp(what, "thread") == 0) {
        in_thread(looker, NULL);
    } else if (strcmp(what, "dlopen") == 0) {
        return in_dlopen(last_word, 0);
    } else if (strcmp(what, "together") == 0) {
        return in_dlopen(last_word, 1);
    } else if (strcmp(what, "handler") == 0) {
        return in_a_handler(last_word);
    } else if (strcmp(what, "interrupted") == 0) {
        return in_interrupted_calls();
    } else if (strcmp(what, "vfork") == 0) {
        return in_a_vfork_child();
    } else if (strcmp(what, "forked") == 0) {
        return in_forked_children();
    } else if (strcmp(what, "key") == 0) {
        pthread_key_create(&key, key_destructor);
        in_thread(with_a_key, &key);
    } else if (strcmp(what, "exit") == 0) {
        atexit(at_exit);
    }
    return 0;
}
