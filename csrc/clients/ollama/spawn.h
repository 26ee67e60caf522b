/* Children started as Go's os/exec starts them. */
#ifndef OLLAMA_SPAWN_H
#define OLLAMA_SPAWN_H

struct child {
    int pid;
    int exited;
    int status; /* as wait4 gives it, once `exited` */
};

/* Where a child's stdout or stderr goes: one of these, or a descriptor. */
enum { SPAWN_INHERITED = -1, SPAWN_NOWHERE = -2 };

/* 0, or an errno: the program could not be started. */
int spawn_start(struct child *child, const char *program, char *const argv[], char *const envp[], int out, int err);
int spawn_has_exited(struct child *child);
void spawn_kill(struct child *child); /* SIGKILL, and wait */

/* "exit status 1" or "signal: aborted (core dumped)", as os.ProcessState prints it; the caller frees it. */
char *spawn_status(const struct child *child);

#endif
