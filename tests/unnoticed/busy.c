/* busy FILE GPU_FILE [apart | hurt]: what is hard for an allocator and for a preload at once. Threads allocate while
 * they look at files, the process forks in the middle of that, and a file is read by ways of libc that allocate
 * themselves. apart: forks when the threads have ended, for an allocator whose locks no forked child can take
 * (AddressSanitizer's of gcc 12, with or without a preload). hurt: writes behind the end of a block. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, ROUNDS = 200, CHILDREN = 10, LINE = 256 };

static const char *ordinary;
static const char *gpu;

/* 0, or the first thing that went wrong. */
static int look(void) {
    struct stat facts;
    char line[LINE] = "";
    char *block = malloc(4096);
    FILE *stream = fopen(ordinary, "r");
    if (block == NULL || stream == NULL || fgets(line, sizeof(line), stream) == NULL || fclose(stream) != 0) {
        return 1;
    }
    char *real = realpath(ordinary, NULL);
    if (real == NULL || stat(real, &facts) != 0) {
        return 2;
    }
    int fd = open(gpu, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, line, sizeof(line) - 1) <= 0 || close(fd) != 0) {
        return 3;
    }
    free(real);
    free(block);
    return 0;
}

static int listed(void) {
    glob_t found = {0};
    struct dirent **entries = NULL;
    int number = scandir("/etc", &entries, NULL, alphasort);
    int answer = number > 0 && glob(gpu, 0, NULL, &found) == 0 && found.gl_pathc == 1;
    globfree(&found);
    while (number > 0) {
        free(entries[--number]);
    }
    free(entries);
    return answer;
}

static void *work(void *unused) {
    (void)unused;
    long answer = 0;
    for (int i = 0; i < ROUNDS && answer == 0; i++) {
        answer = look();
    }
    return (void *)answer;
}

static long forked(void) {
    long wrong = 0;
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0) {
            _exit(look());
        }
        int status;
        wrong += waitpid(child, &status, 0) != child || status != 0;
    }
    return wrong;
}

int main(int count, char **words) {
    if (count < 3) {
        return 2;
    }
    ordinary = words[1];
    gpu = words[2];
    const char *how = count > 3 ? words[3] : "";
    if (strcmp(how, "hurt") == 0) {
        volatile char *block = malloc(8);
        block[8] = 1;
        return block[8];
    }
    pthread_t threads[THREADS];
    long wrong = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, work, NULL);
    }
    int apart = strcmp(how, "apart") == 0;
    wrong += apart ? 0 : forked();
    for (int i = 0; i < THREADS; i++) {
        void *answer;
        pthread_join(threads[i], &answer);
        wrong += answer != NULL;
    }
    wrong += apart ? forked() : 0;
    void *library = dlopen("libm.so.6", RTLD_NOW);
    wrong += library == NULL || dlsym(library, "cos") == NULL || dlclose(library) != 0;
    printf("wrong %ld listed %d\n", wrong, listed());
    return wrong != 0;
}
