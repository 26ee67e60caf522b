/* every PLACE LIST: what each way of libc and of the kernel says of each path of LIST (one a line; with a `-` before it
 * nothing is attempted that would change it), one line for each path and way: "PATH<TAB>WAY<TAB>WHAT". A way's name has
 * what it tells before the colon: all ways of one path that tell the same thing have to agree. PLACE is where it is
 * done: main, constructor (this library's, before main), child (of a fork), thread, handler (of a signal). What the
 * ways are is in every_ways.c and every_lists.c, which are compiled together with this. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *out;
static size_t out_used, out_size;
static const char *path;
static int changing;
static const char *list;

static void tell(const char *way, const char *format, ...) {
    va_list values;
    if (out_size - out_used < 3 * PATH_MAX) {
        out_size = out_size * 2 + (1 << 20);
        out = realloc(out, out_size);
        if (out == NULL) {
            abort();
        }
    }
    out_used += (size_t)sprintf(out + out_used, "%s\t%s\t", path, way);
    va_start(values, format);
    out_used += (size_t)vsnprintf(out + out_used, 2 * PATH_MAX, format, values);
    va_end(values);
    out[out_used++] = '\n';
}

/* One path, by all ways: every_ways.c. */
static void look(void);

static int run(void) {
    static char text[1 << 18];
    int fd = open(list, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, text, sizeof(text) - 1);
    if (got <= 0) {
        perror(list);
        return 2;
    }
    close(fd);
    text[got] = '\0';
    char *next = text;
    for (char *line = strsep(&next, "\n"); next != NULL; line = strsep(&next, "\n")) {
        changing = line[0] == '/';
        path = line + !changing;
        look();
    }
    for (size_t done = 0; done < out_used;) {
        ssize_t wrote = write(STDOUT_FILENO, out + done, out_used - done);
        if (wrote < 0) {
            return 2;
        }
        done += (size_t)wrote;
    }
    return 0;
}

static void *in_thread(void *argument) {
    *(int *)argument = run();
    return NULL;
}

static volatile int handled = 2;

static void on_signal(int number) {
    (void)number;
    handled = run();
}

static int in_child(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        _exit(run());
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

static int in_place(const char *place) {
    int result = 2;
    pthread_t thread;
    if (strcmp(place, "main") == 0) {
        return run();
    }
    if (strcmp(place, "child") == 0) {
        return in_child();
    }
    if (strcmp(place, "thread") == 0) {
        return pthread_create(&thread, NULL, in_thread, &result) == 0 && pthread_join(thread, NULL) == 0 ? result : 2;
    }
    if (strcmp(place, "handler") == 0) {
        signal(SIGUSR1, on_signal);
        raise(SIGUSR1);
        return handled;
    }
    return 2;
}

static int early = -1;

__attribute__((constructor)) static void before_main(int count, char **words) {
    if (count == 3 && strcmp(words[1], "constructor") == 0) {
        list = words[2];
        early = run();
    }
}

int every_main(int count, char **words);
int every_main(int count, char **words) {
    if (count != 3) {
        return 2;
    }
    list = words[2];
    return early >= 0 ? early : in_place(words[1]);
}
