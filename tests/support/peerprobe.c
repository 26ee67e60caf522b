/* peerprobe WHAT GPU_FILE [FILE]: what programs have been seen to do that a file shim must bear. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int __xstat(int version, const char *path, struct stat *to);
int __lxstat(int version, const char *path, struct stat *to);
int __fxstat(int version, int fd, struct stat *to);

/* In data: bound by a relocation of its own (R_X86_64_64), not by a call. */
static int (*const open_pointer)(const char *, int, ...) = open;
static int (*const stat_pointer)(const char *, struct stat *) = stat;

static void *open_and_wait(void *path) {
    int fd = open(path, O_RDONLY); /* until somebody writes to the FIFO */
    return (void *)(long)fd;
}

/* Another thread waits in open(2) of a FIFO while this one looks at files. */
static int fifo(const char *gpu, const char *path) {
    pthread_t thread;
    struct stat facts;
    pthread_create(&thread, NULL, open_and_wait, (void *)(unsigned long)path);
    usleep(50000);
    int answer = stat("/etc", &facts) + stat(gpu, &facts);
    int fd = open(gpu, O_RDONLY);
    int end = open(path, O_WRONLY);
    pthread_join(thread, NULL);
    printf("stat %d open %s fifo %s\n", answer, fd >= 0 ? "yes" : "no", end >= 0 ? "yes" : "no");
    return 0;
}

static int many(const char *gpu) {
    struct rlimit limit;
    struct stat facts;
    int opened = 0;
    int devices = 0;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int kept = limit.rlim_cur > 10100;
    for (int i = 0; i < 10000; i++) {
        int fd = open(gpu, O_RDWR);
        opened += fd >= 0;
        if (i % 100 == 0) {
            devices += fstat(fd, &facts) == 0 && S_ISCHR(facts.st_mode);
        }
        if (!kept) {
            close(fd);
        }
    }
    printf("opened %d devices %d\n", opened, devices);
    return 0;
}

/* The child of a vfork shares all memory: what it closes is its own descriptor alone. */
static int vfork_child(const char *gpu) {
    struct stat facts;
    int fd = open(gpu, O_RDWR);
    pid_t child = vfork();
    if (child == 0) {
        close(fd);
        open(gpu, O_RDWR);
        close(open("/etc/passwd", O_RDONLY));
        _exit(0);
    }
    waitpid(child, NULL, 0);
    int answer = fstat(fd, &facts);
    printf("fstat %d device %d\n", answer, S_ISCHR(facts.st_mode));
    return 0;
}

static int calls(const char *gpu, const char *other) {
    struct stat facts;
    for (int i = 0; i < 2; i++) {
        const char *path = i == 0 ? gpu : other;
        close(open(path, O_RDONLY));
        printf("%d ", stat(path, &facts));
        printf("%d ", stat64(path, (struct stat64 *)(void *)&facts));
        FILE *stream = fopen(path, "r");
        printf("%s\n", stream != NULL ? "stream" : "none");
        if (stream != NULL) {
            fclose(stream);
        }
    }
    return 0;
}

/* As a program does that was built with -fno-plt, keeps functions in tables, or is older than glibc 2.33. */
static int pointers(const char *gpu) {
    char text[8] = "";
    struct stat facts = {0};
    int fd = open_pointer(gpu, O_RDONLY);
    ssize_t got = read(fd, text, 6);
    printf("open %zd %s ", got, text);
    got = pread(open(gpu, O_RDONLY), text, 6, 0);
    printf("direct %zd %s ", got, text);
    printf("stat %d xstat %d lxstat %d fxstat %d\n", stat_pointer(gpu, &facts), __xstat(1, gpu, &facts),
           __lxstat(1, gpu, &facts), __fxstat(1, fd, &facts));
    return 0;
}

int main(int count, char **words) {
    const char *what = words[1];
    const char *gpu = words[2];
    alarm(20);
    if (strcmp(what, "fifo") == 0) {
        alarm(count > 4 ? 1 : 20);
        return fifo(gpu, words[3]);
    }
    if (strcmp(what, "many") == 0) {
        return many(gpu);
    }
    if (strcmp(what, "vfork") == 0) {
        return vfork_child(gpu);
    }
    if (strcmp(what, "calls") == 0) {
        return calls(gpu, words[3]);
    }
    return pointers(gpu);
}
