/* Places in a process where a program may look too: where little is allowed, and where it has given up much. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "escape/probe.h"

static void look(void) {
    check_file(open(at.vendor, O_RDONLY));
}

static void on_signal(int number) {
    (void)number;
    look();
}

static void in_a_handler(const char *unused) {
    struct sigaction action = {.sa_handler = on_signal};
    (void)unused;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
}

static void on_another_stack(const char *unused) {
    static char room[16384];
    stack_t stack = {.ss_sp = room, .ss_size = sizeof(room)};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    (void)unused;
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
}

static void *run_thread(void *unused) {
    look();
    return unused;
}

static void in_a_thread(const char *unused) {
    pthread_t thread;
    (void)unused;
    if (pthread_create(&thread, NULL, run_thread, NULL) != 0) {
        unavailable("pthread_create");
    }
    pthread_join(thread, NULL);
}

static void on_end(void *value) {
    (void)value;
    look();
}

static void *end_thread(void *key) {
    pthread_setspecific(*(pthread_key_t *)key, key);
    return NULL;
}

static void in_a_thread_that_ends(const char *unused) {
    pthread_t thread;
    pthread_key_t key;
    (void)unused;
    if (pthread_key_create(&key, on_end) != 0 || pthread_create(&thread, NULL, end_thread, &key) != 0) {
        unavailable("pthread_create");
    }
    pthread_join(thread, NULL);
}

static void *fork_in_thread(void *unused) {
    pid_t child = fork();
    if (child == 0) {
        look();
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return unused;
}

static void in_a_child_of_a_thread(const char *unused) {
    pthread_t thread;
    (void)unused;
    if (pthread_create(&thread, NULL, fork_in_thread, NULL) != 0) {
        unavailable("pthread_create");
    }
    pthread_join(thread, NULL);
}

static void at_the_end(const char *unused) {
    (void)unused;
    atexit(look);
    exit(0);
}

static void without_environment(const char *unused) {
    (void)unused;
    clearenv();
    look();
}

static void without_descriptors(const char *unused) {
    (void)unused;
    for (int fd = 0; fd < 1024; fd++) {
        close(fd);
    }
    look();
}

static void with_few_descriptors(const char *unused) {
    (void)unused;
    int next = dup(0);
    close(next);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next + 1, (rlim_t)next + 1});
    look();
}

/* What the first look maps is there by then. */
static void with_little_memory(const char *unused) {
    (void)unused;
    close(open(at.device, O_RDONLY));
    setrlimit(RLIMIT_AS, &(struct rlimit){4096, 4096});
    look();
}

static void with_a_mask(const char *unused) {
    struct stat facts = {0};
    (void)unused;
    umask(0777);
    look();
    expect(stat(at.device, &facts) == 0, "stat: %m");
}

static void as_another_user(const char *unused) {
    (void)unused;
    errno = EPERM;
    if (geteuid() != 0 || setgid(65534) != 0 || setuid(65534) != 0) {
        unavailable("setuid");
    }
    look();
}

static void under_another_name(const char *unused) {
    (void)unused;
    FILE *comm = fopen("/proc/self/comm", "w");
    if (comm == NULL || fputs("another", comm) < 0 || fclose(comm) != 0) {
        unavailable("/proc/self/comm");
    }
    look();
}

static void many_times(const char *unused) {
    struct stat facts;
    (void)unused;
    for (int i = 0; i < 2000; i++) {
        int fd = open(at.device, O_RDONLY);
        if (!see(fd >= 0, "%m")) {
            return;
        }
        expect(fstat(fd, &facts) == 0 && facts.st_rdev == at.number, "open number %d is of another file", i);
        close(fd);
    }
}

const struct probe places[] = {
    {"in a signal handler", in_a_handler, NULL},
    {"in a handler on a stack of 16 KiB", on_another_stack, NULL},
    {"in a thread", in_a_thread, NULL},
    {"in a thread that ends", in_a_thread_that_ends, NULL},
    {"in a forked child of a thread", in_a_child_of_a_thread, NULL},
    {"after main returned", at_the_end, NULL},
    {"after clearenv", without_environment, NULL},
    {"after all descriptors were closed", without_descriptors, NULL},
    {"with one descriptor left", with_few_descriptors, NULL},
    {"with no memory left", with_little_memory, NULL},
    {"with umask 0777", with_a_mask, NULL},
    {"as an ordinary user", as_another_user, NULL},
    {"under another process name", under_another_name, NULL},
    {"two thousand times", many_times, NULL},
    NO_PROBE,
};
