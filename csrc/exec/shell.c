/* system and popen. libc starts their shell from within, where no shim stands, and with `environ`. So where `environ`
 * lacks something, system is done here, as POSIX describes it, and popen sees a completed `environ` meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exec/exec.h"
#include "vgpu/process.h"
#include "vgpu/raw.h"

#define SHELL "/bin/sh"

/* Under the process's lock, which is free again in a forked child. */
static struct {
    uint32_t running; /* threads in system: the first of them ignores the signals, the last one restores them */
    struct sigaction interrupt;
    struct sigaction quit;
} shells;

/* The environment that popen shows to libc. It is never unmapped, and its array never ends early: another thread may be
 * reading it. To change the environment meanwhile is what POSIX forbids next to any function that reads it. */
static struct {
    char **variables;
    size_t size;
} shown;

static void lock(struct vgpu_process *process) {
    vgpu_lock(process);
    if (vgpu_process_forked(process)) {
        shells.running = 0;
    }
}

/* The terminal's signals are for the shell meanwhile, and SIGCHLD must not make a handler take its status away. */
static void hold_signals(struct vgpu_process *process, sigset_t *before) {
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    lock(process);
    if (shells.running++ == 0) {
        sigaction(SIGINT, &ignore, &shells.interrupt);
        sigaction(SIGQUIT, &ignore, &shells.quit);
    }
    sigprocmask(SIG_BLOCK, &child, before);
    vgpu_unlock(process);
}

static void release_signals(struct vgpu_process *process, const sigset_t *before) {
    lock(process);
    if (shells.running > 0 && --shells.running == 0) {
        sigaction(SIGINT, &shells.interrupt, NULL);
        sigaction(SIGQUIT, &shells.quit, NULL);
    }
    sigprocmask(SIG_SETMASK, before, NULL);
    vgpu_unlock(process);
}

/* The shell starts with the signals as the caller had them. */
static int start_shell(pid_t *pid, const char *command, const sigset_t *mask, char *const envp[]) {
    posix_spawnattr_t attributes;
    sigset_t reset;
    sigemptyset(&reset);
    if (shells.interrupt.sa_handler != SIG_IGN) {
        sigaddset(&reset, SIGINT);
    }
    if (shells.quit.sa_handler != SIG_IGN) {
        sigaddset(&reset, SIGQUIT);
    }
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, mask);
    posix_spawnattr_setsigdefault(&attributes, &reset);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    char name[] = "sh";
    char option[] = "-c";
    char *argv[] = {name, option, (char *)(uintptr_t)command, NULL};
    int error = VGPU_EXEC_REAL(posix_spawn)(pid, SHELL, NULL, &attributes, argv, envp);
    posix_spawnattr_destroy(&attributes);
    return error;
}

static int run_shell(struct vgpu_process *process, const char *command, char *const envp[], int *error) {
    sigset_t before;
    pid_t pid = -1;
    int status = W_EXITCODE(127, 0);
    hold_signals(process, &before);
    *error = start_shell(&pid, command, &before, envp);
    if (*error == 0) {
        long got;
        do {
            got = vgpu_raw6(SYS_wait4, pid, (long)&status, 0, 0, 0, 0);
        } while (got == -EINTR);
        if (got < 0) {
            *error = (int)-got;
            status = -1;
        }
    }
    release_signals(process, &before);
    return status;
}

int vgpu_serve_system(struct vgpu_exec_call *call, const char *command) {
    int saved = errno;
    struct vgpu_process *process = vgpu_exec_process();
    if (command == NULL || process == NULL) {
        return VGPU_EXEC_REAL(system)(command);
    }
    char **now = __atomic_load_n(&environ, __ATOMIC_ACQUIRE);
    int status = -1;
    int error = vgpu_exec_begin(call, vgpu_program_look(AT_FDCWD, SHELL, 0), command, now);
    if (error == 0 && call->envp == now && now != __atomic_load_n(&shown.variables, __ATOMIC_ACQUIRE)) {
        errno = saved;
        status = VGPU_EXEC_REAL(system)(command);
        error = status == -1 ? errno : 0;
        saved = errno;
    } else if (error == 0) {
        status = run_shell(process, command, call->envp, &error);
    }
    vgpu_exec_end(call, error);
    errno = error != 0 ? error : saved;
    return status;
}

/* Room for the environment that is shown, for good; twice what is asked for, so that there are few of them. NULL: the
 * kernel has no memory. */
static void *room_to_show(size_t size) {
    if (shown.variables == NULL || shown.size < size) {
        size *= 2;
        long at = vgpu_raw6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at <= 0) {
            return NULL;
        }
        shown.size = size;
        __atomic_store_n(&shown.variables, (char **)at, __ATOMIC_RELEASE);
    }
    return shown.variables;
}

typedef vgpu_exec_type_popen popen_function;

/* Under the lock. */
static FILE *popen_shown(const struct vgpu_plan *plan, popen_function *real, const char *command, const char *mode) {
    char **before = (char **)(uintptr_t)plan->envp;
    if (room_to_show(plan->size) == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    char **variables = vgpu_plan_carry_out(plan, shown.variables);
    __atomic_store_n(&environ, variables, __ATOMIC_RELEASE);
    FILE *stream = real(command, mode);
    if (!__atomic_compare_exchange_n(&environ, &variables, before, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        /* Somebody has given the program another environment, perhaps with our texts in it: they are now its. */
        __atomic_store_n(&shown.variables, NULL, __ATOMIC_RELEASE);
    }
    return stream;
}

static FILE *serve_popen(struct vgpu_exec_call *call, const char *command, const char *mode) {
    popen_function *real = (popen_function *)vgpu_exec_real(call->function);
    struct vgpu_process *process = vgpu_exec_process();
    enum vgpu_program program = vgpu_program_look(AT_FDCWD, SHELL, 0);
    struct vgpu_plan plan = {.changes = 0};
    FILE *stream;
    call->text = command;
    if (call->kept == &vgpu_kept_unknown) {
        errno = ENOMEM;
        stream = NULL;
    } else if (process == NULL || program != VGPU_PROGRAM_SERVED) {
        vgpu_exec_record_entered(call, program, 0);
        stream = real(command, mode);
    } else {
        lock(process);
        if (environ == shown.variables) {
            /* This process was forked while a thread of its parent was in here. */
            __atomic_store_n(&shown.variables, NULL, __ATOMIC_RELEASE);
        }
        vgpu_plan_make(&plan, call->kept, environ);
        vgpu_exec_record_entered(call, program, plan.changes);
        stream = plan.changes != 0 ? popen_shown(&plan, real, command, mode) : NULL;
        vgpu_unlock(process);
        stream = plan.changes != 0 ? stream : real(command, mode);
    }
    if (stream == NULL) {
        vgpu_exec_record_failed(call, errno);
    }
    return stream;
}

FILE *vgpu_serve_popen(struct vgpu_exec_call *call, const char *command, const char *mode) {
    return serve_popen(call, command, mode);
}

FILE *vgpu_serve__IO_popen(struct vgpu_exec_call *call, const char *command, const char *mode) {
    return serve_popen(call, command, mode);
}
