/* Forks, waits and cleans up.
 *
 * All signals are blocked in the executor. A process that has ended sends SIGCHLD, one that has done its step SIGUSR1:
 * both are taken by sigtimedwait, so no descriptor is needed that a library could close. The executor is the
 * subreaper: whatever an example has started becomes its child in the end, and is ended. */
#include "executor/example.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "executor/area.h"
#include "executor/child.h"
#include "ollama/raw.h"

static pid_t waiting; /* the process that an example has left waiting; 0: none */

static pid_t start(const struct example_host *host) {
    pid_t executor = (pid_t)raw_call(SYS_getpid, 0, 0, 0, 0);
    pid_t pid = fork();
    if (pid == 0) {
        /* A group of its own: kill(0, ...) reaches nobody else. */
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        raw_close(host->close[0]);
        raw_close(host->close[1]);
        sigprocmask(SIG_SETMASK, &host->signals, NULL);
        child_run(&host->baseline, executor);
    }
    return pid;
}

enum { SECOND_NS = 1000000000, MS_NS = 1000000 };

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* Kills what an example has left, and what that leaves, until there is no child. Answers how many there were. `group`
 * is its process: all that is in its group ends at once, however fast it forks. */
static uint32_t end_leftovers(pid_t group) {
    uint32_t count = 0;
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0) {
            return count;
        }
        if (pid > 0) {
            count++;
            continue;
        }
        kill(-group, SIGKILL);
        char children[4096];
        int list = raw_open("/proc/thread-self/children", O_RDONLY, 0);
        long got = raw_read(list, children, sizeof(children) - 1);
        raw_close(list);
        if (got <= 0) {
            return count;
        }
        children[got] = '\0';
        char *end = children;
        for (long child; (child = strtol(end, &end, 10)) > 0;) {
            kill((pid_t)child, SIGKILL);
        }
        count += waitpid(-1, NULL, 0) > 0;
    }
}

/* Waits until the process has done its step (1), or has ended (0, with `*status`), or the time is over (-1). */
static int wait_for(pid_t pid, int64_t timeout_ms, int *status) {
    sigset_t news;
    sigemptyset(&news);
    sigaddset(&news, SIGCHLD);
    sigaddset(&news, SIGUSR1);
    int64_t deadline = now_ns() + timeout_ms * MS_NS;
    for (;;) {
        if (__atomic_load_n(&area->done, __ATOMIC_ACQUIRE) == area->step) {
            return 1;
        }
        if (waitpid(pid, status, WNOHANG) == pid) {
            return 0;
        }
        int64_t left = deadline - now_ns();
        if (left <= 0) {
            return -1;
        }
        struct timespec patience = {left / SECOND_NS, left % SECOND_NS};
        sigtimedwait(&news, NULL, &patience);
    }
}

static void say_status(struct example_end *end, int status) {
    if (WIFSIGNALED(status)) {
        end->ended = EXECUTOR_ENDED_CRASH;
        end->status = WTERMSIG(status);
        return;
    }
    end->status = WEXITSTATUS(status);
    if (area->stage == AREA_FULL) {
        end->ended = EXECUTOR_ENDED_FULL;
    } else if (area->stage == AREA_LEAVING && end->status == EXIT_SUCCESS) {
        end->ended = EXECUTOR_ENDED_LEFT;
    } else {
        end->ended = EXECUTOR_ENDED_EXIT;
    }
}

static void kill_and_reap(pid_t pid) {
    kill(pid, SIGKILL);
    kill(-pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

static void wake(void) {
    __atomic_add_fetch(&area->step, 1, __ATOMIC_RELEASE);
    raw_call(SYS_futex, (long)&area->step, FUTEX_WAKE, 1, 0);
}

void example_run(const struct example_host *host, uint32_t offset, const struct executor_example *example,
                 struct example_end *end) {
    memset(end, 0, sizeof(*end));
    area->example = offset;
    area->call = 0;
    area->results = 0;
    area->descriptors = 0;
    area->used = 0;
    area->stage = AREA_CALLING;
    pid_t pid = waiting;
    waiting = 0;
    if (pid != 0) {
        wake();
    } else {
        area->step++;
        pid = start(host);
    }
    if (pid < 0) {
        end->ended = EXECUTOR_ENDED_NO_PROCESS;
        end->status = errno;
        return;
    }
    int status = 0;
    int news = wait_for(pid, example->timeout_ms, &status);
    if (news > 0) {
        end->ended = EXECUTOR_ENDED_STAYS;
        waiting = pid;
        return;
    }
    if (news < 0) {
        end->ended = EXECUTOR_ENDED_HANG;
        kill_and_reap(pid);
    } else {
        say_status(end, status);
    }
    end->processes = end_leftovers(pid);
}

void example_abandon(void) {
    if (waiting != 0) {
        kill_and_reap(waiting);
        end_leftovers(waiting);
        waiting = 0;
    }
}
