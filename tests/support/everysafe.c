/* everysafe MODE FILE DEVICE FIFO: what a file call of libc must not do. "memory": how often malloc is called while the
 * tree is asked. "stack": how many bytes of a signal handler's stack that takes. "threads": eight threads, whose first
 * calls of all fall together, and how many of their answers were wrong. "cancel": a thread that waits in open of FIFO
 * is cancelled: whether it ends so, and its clean-up is done. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 100, STACK = 256 << 10 };

static const char *file, *device, *fifo;
static volatile long allocations;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *malloc(size_t size) {
    allocations++;
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
    allocations++;
    return __libc_calloc(count, size);
}

/* All that a signal handler may call (signal-safety(7)), and what it can ask the kernel by number. The answers that are
 * wrong. */
static int ask(void) {
    struct stat facts;
    struct statx wide;
    struct statfs volume;
    static __thread char odd[256];
    char text[64] = "";
    int wrong = 0;
    int fd = open(file, O_RDONLY);
    wrong += read(fd, text, sizeof(text)) != 7 || memcmp(text, "0x10de\n", 7) != 0;
    wrong += fstat(fd, &facts) != 0 || facts.st_size != 4096;
    close(fd);
    wrong += stat(file, &facts) != 0 || facts.st_size != 4096 || !S_ISREG(facts.st_mode);
    wrong += lstat(device, &facts) != 0 || !S_ISCHR(facts.st_mode);
    wrong += syscall(SYS_statx, AT_FDCWD, device, 0, STATX_ALL, &wide) != 0 || !S_ISCHR(wide.stx_mode);
    wrong += syscall(SYS_statfs, file, &volume) != 0;
    wrong += access(file, R_OK) != 0 || access(file, X_OK) == 0;
    wrong += readlink(file, text, sizeof(text)) != -1;
    wrong += getxattr(file, "user.none", text, sizeof(text)) != -1;
    wrong += mkdir(file, 0700) == 0 || unlink(file) == 0 || chmod(file, 0) == 0;
    strcpy(odd, "/proc/self/root/usr/..");
    strcat(odd, file);
    fd = openat(AT_FDCWD, odd, O_RDONLY | O_CLOEXEC);
    wrong += read(fd, text, sizeof(text)) != 7;
    close(fd);
    fd = open("/dev", O_RDONLY | O_DIRECTORY);
    wrong += faccessat(fd, strrchr(device, '/') + 1, R_OK, 0) != 0;
    wrong += fstatat(fd, strrchr(device, '/') + 1, &facts, 0) != 0 || !S_ISCHR(facts.st_mode);
    close(fd);
    return wrong;
}

static int memory(void) {
    ask();
    long before = allocations;
    int wrong = ask();
    printf("%ld allocations, %d wrong\n", allocations - before, wrong);
    return 0;
}

static volatile int handled;

static void on_signal(int number) {
    (void)number;
    handled = ask();
}

static int stack(void) {
    unsigned char *room = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    memset(room, 0xa5, STACK);
    sigaltstack(&(stack_t){.ss_sp = room, .ss_size = STACK}, NULL);
    sigaction(SIGUSR1, &action, NULL);
    ask(); /* the first call of all may take more: it maps the image */
    raise(SIGUSR1);
    int unused = 0;
    while (unused < STACK && room[unused] == 0xa5) {
        unused++;
    }
    printf("%d bytes, %d wrong\n", STACK - unused, handled);
    return 0;
}

static pthread_barrier_t start;
static int wrongs;

static void *one_of_many(void *argument) {
    (void)argument;
    pthread_barrier_wait(&start);
    for (int i = 0; i < ROUNDS; i++) {
        __atomic_fetch_add(&wrongs, ask(), __ATOMIC_RELAXED);
    }
    return NULL;
}

static int threads(void) {
    pthread_t all[THREADS];
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&all[i], NULL, one_of_many, NULL);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(all[i], NULL);
    }
    printf("%d wrong\n", wrongs);
    return 0;
}

static volatile int cleaned;
static volatile int waiting;

static void clean(void *argument) {
    (void)argument;
    cleaned = 1;
}

static void *waits(void *argument) {
    (void)argument;
    pthread_cleanup_push(clean, NULL);
    waiting = 1;
    int fd = open(fifo, O_RDONLY);
    close(fd);
    pthread_cleanup_pop(0);
    return NULL;
}

static int cancel(void) {
    pthread_t thread;
    void *answer = NULL;
    alarm(10);
    pthread_create(&thread, NULL, waits, NULL);
    while (!waiting) {
        sched_yield();
    }
    usleep(20000);
    pthread_cancel(thread);
    pthread_join(thread, &answer);
    printf("%s, %s\n", answer == PTHREAD_CANCELED ? "cancelled" : "ended", cleaned ? "cleaned" : "not cleaned");
    return 0;
}

int main(int count, char **words) {
    if (count != 5) {
        return 2;
    }
    file = words[2];
    device = words[3];
    fifo = words[4];
    return strcmp(words[1], "memory") == 0    ? memory()
           : strcmp(words[1], "stack") == 0   ? stack()
           : strcmp(words[1], "threads") == 0 ? threads()
                                              : cancel();
}
