/* Other programs that a program starts: they look, and what they print comes back through a pipe. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ollama/raw.h"

#include "escape/probe.h"

extern char **environ;

/* exec functions have char * for historical reasons and change nothing (POSIX, exec, Rationale). */
#define VECTOR(words) ((char *const *)(words))

static char output[ESCAPE_BYTES];

/* Everything that can be read, as a string. */
static ssize_t drain(int fd) {
    size_t length = 0;
    for (ssize_t got; length < sizeof(output) - 1; length += (size_t)got) {
        got = read(fd, output + length, sizeof(output) - 1 - length);
        if (got <= 0) {
            break;
        }
    }
    output[length] = '\0';
    close(fd);
    return (ssize_t)length;
}

/* Starts `words` with the pipe as standard output. */
typedef void starter(const char **words);

static void by_execve(const char **words) {
    execve(words[0], VECTOR(words), environ);
}

static void by_execv(const char **words) {
    execv(words[0], VECTOR(words));
}

static void by_execvp(const char **words) {
    execvp(strrchr(words[0], '/') + 1, VECTOR(words));
}

static void by_execvpe(const char **words) {
    execvpe(strrchr(words[0], '/') + 1, VECTOR(words), environ);
}

static void by_execl(const char **words) {
    execl(words[0], words[0], words[1], words[2], (char *)NULL);
}

static void by_execle(const char **words) {
    execle(words[0], words[0], words[1], words[2], (char *)NULL, environ);
}

static void by_fexecve(const char **words) {
    fexecve(open(words[0], O_RDONLY), VECTOR(words), environ);
}

static void by_execveat(const char **words) {
    execveat(AT_FDCWD, words[0], VECTOR(words), environ, 0);
}

static void by_number(const char **words) {
    syscall(SYS_execve, words[0], words, environ);
}

static void by_instruction(const char **words) {
    raw_call(SYS_execve, (long)words[0], (long)words, (long)environ, 0);
}

static void with_empty_environment(const char **words) {
    char *empty[] = {NULL};
    execve(words[0], VECTOR(words), empty);
}

static void with_cleared_environment(const char **words) {
    clearenv();
    execv(words[0], VECTOR(words));
}

static void started(starter *start, const char **words) {
    int ends[2], status = 0;
    if (pipe(ends) != 0) {
        unavailable("pipe");
    }
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        close(2);
        start(words);
        _exit(127);
    }
    close(ends[1]);
    drain(ends[0]);
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        errno = ENOENT;
        unavailable(words[0]);
    }
}

static void check_output(void) {
    size_t length = strlen(output);
    if (length == 0) {
        see(0, "no output");
    } else {
        check_text(output, (ssize_t)length);
    }
}

static const struct {
    const char *name;
    starter *start;
} starters[] = {
    {"execve", by_execve},
    {"execv", by_execv},
    {"execvp", by_execvp},
    {"execvpe", by_execvpe},
    {"execl", by_execl},
    {"execle", by_execle},
    {"fexecve", by_fexecve},
    {"execveat", by_execveat},
    {"syscall", by_number},
    {"instruction", by_instruction},
    {"empty", with_empty_environment},
    {"clearenv", with_cleared_environment},
};

static void cat(const char *how) {
    const char *words[] = {"/bin/cat", at.vendor, NULL, NULL};
    for (size_t i = 0; i < sizeof(starters) / sizeof(starters[0]); i++) {
        if (strcmp(starters[i].name, how) == 0) {
            started(starters[i].start, words);
        }
    }
    check_output();
}

static void env_i(const char *unused) {
    const char *words[] = {"/usr/bin/env", "-i", "/bin/cat", at.vendor, NULL};
    (void)unused;
    started(by_execve, words);
    check_output();
}

/* `script` is given the path as $1 and the device as $2. */
static void sh(const char *script) {
    const char *words[] = {"/bin/sh", "-c", script, "sh", at.vendor, at.device, at.bound, NULL};
    started(by_execve, words);
}

static void shell(const char *script) {
    sh(script);
    check_output();
}

/* The script says e: it exists, r: it is of the right kind. */
static void shell_tests(const char *script) {
    sh(script);
    if (see(output[0] == 'e', "the shell finds nothing")) {
        expect(strcmp(output, "e\nr\n") == 0, "it is of another kind");
    }
}

static void shell_names_the_gpu(const char *script) {
    sh(script);
    output[strcspn(output, "\n")] = '\0';
    errno = ENOENT;
    check_path(output[0] == '\0' ? NULL : output, at.home);
}

static void shell_shows_the_device(const char *script) {
    unsigned int high = 0, low = 0;
    char kind[40] = "";
    sh(script);
    int found = sscanf(output, "%x:%x %39[a-z ]", &high, &low, kind);
    if (see(found == 3, "no output")) {
        expect(strcmp(kind, "character special file") == 0, "it is a %s", kind);
        expect(makedev(high, low) == at.number, "its number is %u:%u", high, low);
    }
}

static void shell_lists_the_gpu(const char *script) {
    sh(script);
    const char *found = strstr(output, at.address);
    if (see(found != NULL, "the GPU is not listed")) {
        expect(found == output || found[-1] == '\n' || found[-1] == '/', "the name is not whole");
    }
}

static void by_system(const char *unused) {
    char line[PATH_MAX + 64];
    int ends[2];
    (void)unused;
    if (pipe(ends) != 0) {
        unavailable("pipe");
    }
    snprintf(line, sizeof(line), "cat %s 2>/dev/null", at.vendor);
    dup2(ends[1], 1);
    close(ends[1]);
    int status = system(line);
    close(1);
    drain(ends[0]);
    if (status != 0) {
        see(0, "cat: status %d", status);
    } else {
        check_output();
    }
}

static void by_popen(const char *unused) {
    char line[PATH_MAX + 64];
    (void)unused;
    snprintf(line, sizeof(line), "cat %s 2>/dev/null", at.vendor);
    FILE *stream = popen(line, "r");
    if (see(stream != NULL, "%m")) {
        output[fread(output, 1, sizeof(output) - 1, stream)] = '\0';
        pclose(stream);
        check_output();
    }
}

static void check_spawn(const char **words, char **environment, posix_spawn_file_actions_t *actions, int by_name) {
    int ends[2];
    pid_t child;
    if (pipe(ends) != 0) {
        unavailable("pipe");
    }
    posix_spawn_file_actions_adddup2(actions, ends[1], 1);
    posix_spawn_file_actions_addopen(actions, 2, "/dev/null", O_WRONLY, 0);
    int error = by_name ? posix_spawnp(&child, words[0], actions, NULL, VECTOR(words), environment)
                        : posix_spawn(&child, words[0], actions, NULL, VECTOR(words), environment);
    close(ends[1]);
    if (see(error == 0, "%s", strerror(error))) {
        drain(ends[0]);
        waitpid(child, NULL, 0);
        check_output();
    }
}

static void spawned(const char *name) {
    posix_spawn_file_actions_t actions;
    const char *words[] = {name, at.vendor, NULL};
    posix_spawn_file_actions_init(&actions);
    check_spawn(words, environ, &actions, strchr(name, '/') == NULL);
}

static void spawned_without_environment(const char *name) {
    posix_spawn_file_actions_t actions;
    const char *words[] = {name, at.vendor, NULL};
    char *empty[] = {NULL};
    posix_spawn_file_actions_init(&actions);
    check_spawn(words, empty, &actions, 0);
}

/* libc opens the file in the child, by a call of its own. */
static void spawned_with_open(const char *name) {
    posix_spawn_file_actions_t actions;
    const char *words[] = {name, NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, at.vendor, O_RDONLY, 0);
    check_spawn(words, environ, &actions, 0);
}

static void spawned_in_the_gpu(const char *name) {
    posix_spawn_file_actions_t actions;
    const char *words[] = {name, "vendor", NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, at.gpu);
    check_spawn(words, environ, &actions, 0);
}

static void without_libc(const char *unused) {
    char path[PATH_MAX];
    const char *words[] = {path, at.vendor, NULL};
    (void)unused;
    companion(path, "static");
    started(by_execve, words);
    check_output();
}

static void device_without_libc(const char *unused) {
    char path[PATH_MAX];
    const char *words[] = {path, "-d", at.device, NULL};
    unsigned long mode = 0, number = 0;
    (void)unused;
    companion(path, "static");
    started(by_execve, words);
    int found = sscanf(output, "%lu %lu", &mode, &number);
    errno = ENOENT;
    check_device(found == 2 ? 0 : -1, (mode_t)mode, number);
}

const struct probe programs[] = {
    {"execve of cat", cat, "execve"},
    {"execv of cat", cat, "execv"},
    {"execvp of cat", cat, "execvp"},
    {"execvpe of cat", cat, "execvpe"},
    {"execl of cat", cat, "execl"},
    {"execle of cat", cat, "execle"},
    {"fexecve of cat", cat, "fexecve"},
    {"execveat of cat", cat, "execveat"},
    {"syscall(SYS_execve) of cat", cat, "syscall"},
    {"instruction: execve of cat", cat, "instruction"},
    {"execve of cat, empty environment", cat, "empty"},
    {"clearenv, execv of cat", cat, "clearenv"},
    {"env -i cat", env_i, NULL},
    {"system(cat)", by_system, NULL},
    {"popen(cat)", by_popen, NULL},
    {"posix_spawn of cat", spawned, "/bin/cat"},
    {"posix_spawnp of cat", spawned, "cat"},
    {"posix_spawn of cat, empty environment", spawned_without_environment, "/bin/cat"},
    {"posix_spawn_file_actions_addopen", spawned_with_open, "/bin/cat"},
    {"posix_spawn_file_actions_addchdir_np", spawned_in_the_gpu, "/bin/cat"},
    {"sh: read < file", shell, "read -r line < \"$1\" && echo \"$line\""},
    {"sh: cat < file", shell, "cat < \"$1\""},
    {"sh: cd, cat", shell, "cd \"${1%/*}\" && cat vendor"},
    {"sh: cat of a pattern", shell, "cat \"${1%/*}\"/vendo[r]"},
    {"sh: dd", shell, "dd if=\"$1\" 2>/dev/null"},
    {"sh: head", shell, "head -n 1 \"$1\""},
    {"sh: grep", shell, "grep 0x \"$1\""},
    {"sh: test -c of the device", shell_tests, "[ -e \"$2\" ] && echo e; [ -c \"$2\" ] && echo r"},
    {"sh: test -d of the GPU", shell_tests, "[ -e \"$3\" ] && echo e; [ -d \"$3\" ] && echo r"},
    {"sh: stat of the device", shell_shows_the_device, "stat -c '%t:%T %F' \"$2\""},
    {"sh: ls of the driver", shell_lists_the_gpu, "ls \"${3%/*}\""},
    {"sh: find below the driver", shell_lists_the_gpu, "find \"${3%/*}\" -name '*:*'"},
    {"sh: readlink -f of the GPU", shell_names_the_gpu, "readlink -f \"$3\""},
    {"sh: realpath of the GPU", shell_names_the_gpu, "realpath \"$3\""},
    {"sh: cd -P, pwd", shell_names_the_gpu, "cd -P \"$3\" && /bin/pwd"},
    {"a static program", without_libc, NULL},
    {"a static program: stat", device_without_libc, NULL},
    NO_PROBE,
};
