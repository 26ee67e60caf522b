/* vgpu-prober < JOB > ANSWERS: calls the functions of one library and says what they answer. The library is loaded
 * once, and nothing of it is called in this process: each `child` of the job is a process of its own, and so is what
 * remains of it after a call that ended it.
 *
 *   buffers ADDRESS            where the memory lies that arguments point to
 *   seconds NUMBER             what a call may take
 *   library PATH               loaded with RTLD_NOW
 *   exports NAME...            the names for which the answers of cuGetProcAddress are looked up
 *   init NAME ARGUMENT...      what initialises it; call.c has the forms of arguments
 *   setup NAME ARGUMENT...     called after it, in each child that is `after`
 *   versions NUMBER...         what cuGetProcAddress is asked for
 *   child before|after         a new process, before or after `init` is called in it
 *   call NAME ARGUMENT...      -> code NUMBER [HEX...] | missing
 *   text NAME ARGUMENT...      -> text TEXT | missing; for a function that answers the address of a text
 *   resolve v1|v2 SYMBOL       -> answers / VERSION:CODE,STATUS,TARGET... / ... / ...   | missing
 *   aliases                    -> alias NAME=NAME...    those of `exports` that are one function
 *
 * The last four have one line of answer each, `signal NUMBER` or `exit NUMBER` if the process ended in it. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "prober/prober.h"

enum { WRONG_USAGE = 2, FIRST_OWN_FD = 64, LOAD_SECONDS = 60 };

static struct task *tasks;
static int task_count;
static void *library;
static const struct task *init, *versions;
static struct line line;
static int answers; /* stdout, as it was at the start */

/* How many of a child's tasks are done, and calls begun; the child counts, and may end at any moment. */
static volatile int *done, *begun;

static void refuse(const char *what, const char *why) {
    fprintf(stderr, "vgpu-prober: %s: %s\n", what, why);
    exit(WRONG_USAGE);
}

void line_add(struct line *to, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(to->text + to->length, sizeof(to->text) - 1 - to->length, format, arguments);
    va_end(arguments);
    size_t room = sizeof(to->text) - 2 - to->length;
    to->length += length < 0 ? 0 : (size_t)length < room ? (size_t)length : room;
}

static void send(void) {
    for (size_t i = 0; i < line.length; i++) {
        line.text[i] = (unsigned char)line.text[i] < ' ' ? ' ' : line.text[i];
    }
    line.text[line.length++] = '\n';
    for (size_t sent = 0; sent < line.length;) {
        ssize_t part = write(answers, line.text + sent, line.length - sent);
        if (part <= 0) {
            _exit(WRONG_USAGE);
        }
        sent += (size_t)part;
    }
    line.length = 0;
}

static int is(const struct task *task, const char *word) {
    return task->count > 0 && strcmp(task->words[0], word) == 0;
}

static char *read_all(void) {
    size_t size = 0, room = 1 << 16;
    char *text = malloc(room);
    for (;;) {
        ssize_t part = text != NULL ? read(STDIN_FILENO, text + size, room - size - 1) : -1;
        if (part < 0) {
            refuse("stdin", strerror(errno));
        }
        if (part == 0) {
            text[size] = '\0';
            return text;
        }
        size += (size_t)part;
        if (room - size < room / 2) {
            room *= 2;
            text = realloc(text, room);
        }
    }
}

static struct task read_task(char *from) {
    struct task task = {NULL, 0};
    int room = 0;
    char *kept = NULL;
    for (char *word = strtok_r(from, " ", &kept); word != NULL; word = strtok_r(NULL, " ", &kept)) {
        if (task.count == room) {
            room = room * 2 + 8;
            task.words = realloc(task.words, (size_t)room * sizeof(char *));
            if (task.words == NULL) {
                refuse("job", strerror(ENOMEM));
            }
        }
        task.words[task.count++] = word;
        if (task.count == 1 && strcmp(word, "library") == 0 && *kept != '\0') {
            task.words[task.count++] = kept; /* a path may have spaces */
            break;
        }
    }
    return task;
}

static void read_job(void) {
    char *kept = NULL;
    int room = 0;
    for (char *text = strtok_r(read_all(), "\n", &kept); text != NULL; text = strtok_r(NULL, "\n", &kept)) {
        if (task_count == room) {
            room = room * 2 + 1024;
            tasks = realloc(tasks, (size_t)room * sizeof(*tasks));
            if (tasks == NULL) {
                refuse("job", strerror(ENOMEM));
            }
        }
        tasks[task_count++] = read_task(text);
    }
}

static void prepare(void) {
    int mapped = 0;
    for (int i = 0; i < task_count; i++) {
        const struct task *task = &tasks[i];
        if (is(task, "buffers") && task->count == 2) {
            mapped = call_map(task->words[1]);
        } else if (is(task, "seconds") && task->count == 2) {
            call_seconds = (unsigned)atoi(task->words[1]);
        } else if (is(task, "library") && task->count == 2) {
            alarm(LOAD_SECONDS);
            library = dlopen(task->words[1], RTLD_NOW | RTLD_LOCAL);
            alarm(0);
            if (library == NULL) {
                refuse(task->words[1], dlerror());
            }
        } else if (is(task, "exports") && library != NULL) {
            resolve_exports(library, task->words + 1, task->count - 1);
        } else if (is(task, "init") && task->count > 1) {
            init = task;
        } else if (is(task, "versions")) {
            versions = task;
        }
    }
    if (library == NULL || !mapped) {
        refuse("job", library == NULL ? "names no library" : "has no place for buffers that is free");
    }
}

/* The library's own output must not mix with the answers. */
static void silence(int first, int last) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = first; fd <= last; fd++) {
        dup2(null, fd);
    }
    close(null);
}

void call_begins(void) {
    (*begun)++;
    alarm(call_seconds);
}

static void child(const struct task *first, int count, int after) {
    silence(STDERR_FILENO, STDERR_FILENO);
    pid_t self = getpid();
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (after && init != NULL) {
        struct line ignored = {0};
        call_do(library, init, &ignored);
        for (int i = 0; i < task_count; i++) {
            if (is(&tasks[i], "setup") && tasks[i].count > 1) {
                call_setup(library, &tasks[i]);
            }
        }
    }
    for (int i = 0; i < count; i++) {
        const struct task *task = first + i;
        if (is(task, "resolve") && task->count == 3) {
            resolve_do(library, task, versions, &line);
        } else if (is(task, "aliases")) {
            resolve_aliases(&line);
        } else if ((is(task, "call") || is(task, "text")) && task->count > 1) {
            call_do(library, task, &line);
        } else {
            line_add(&line, "not understood");
        }
        if (getpid() != self) {
            _exit(0); /* the function has forked and come back twice: one answer is enough */
        }
        send();
        (*done)++;
    }
    _exit(0);
}

/* Ends what the library has started and left behind: whatever its parent was, it is this process's child by now. */
static void end_strays(void) {
    for (int found = 1; found > 0;) {
        FILE *children = fopen("/proc/thread-self/children", "re");
        int pid = 0;
        found = 0;
        while (children != NULL && fscanf(children, "%d", &pid) == 1) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            found++;
        }
        if (children != NULL) {
            fclose(children);
        }
    }
}

/* Waits for a child's end, as `status` has it. It has its own alarm; but a library can ignore that, or stop its
 * process: who begins no other call for longer than one may take is ended from here, as if by the alarm. */
static int ended(pid_t pid) {
    struct pollfd process = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    int status = 0, late = 0;
    if (process.fd >= 0) {
        int seen = *begun;
        for (int ready = 0; ready != 1 && !late;) {
            ready = poll(&process, 1, (int)(call_seconds + 1) * 1000);
            late = ready == 0 && seen == *begun;
            seen = *begun;
        }
        close(process.fd);
    }
    if (late) {
        kill(pid, SIGKILL);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return late ? SIGALRM : status;
}

static void run(const struct task *first, int count, int after) {
    for (int from = 0; from < count; from += *done) {
        int status = 0;
        *done = 0;
        pid_t pid = fork();
        if (pid < 0) {
            refuse("fork", strerror(errno));
        }
        if (pid == 0) {
            child(first + from, count - from, after);
        }
        status = ended(pid);
        end_strays();
        if (from + *done < count) {
            line.length = 0;
            line_add(&line, WIFSIGNALED(status) ? "signal %d" : "exit %d",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            send();
            (*done)++;
        }
    }
}

int main(void) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    answers = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, FIRST_OWN_FD);
    if (answers < 0) {
        refuse("stdout", strerror(errno));
    }
    done = mmap(NULL, 2 * sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (done == MAP_FAILED) {
        refuse("memory", strerror(errno));
    }
    begun = done + 1;
    read_job();
    silence(STDIN_FILENO, STDOUT_FILENO);
    prepare();
    for (int i = 0; i < task_count;) {
        if (!is(&tasks[i], "child") || tasks[i].count != 2) {
            i++;
            continue;
        }
        int count = 0;
        while (i + 1 + count < task_count && !is(&tasks[i + 1 + count], "child")) {
            count++;
        }
        run(&tasks[i + 1], count, strcmp(tasks[i].words[1], "after") == 0);
        i += 1 + count;
    }
    _exit(0); /* nothing of the library runs in this process */
}
