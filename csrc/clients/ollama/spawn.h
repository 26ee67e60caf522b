/* Children started as Go's os/exec starts them. */
#ifndef OLLAMA_SPAWN_H
#define OLLAMA_SPAWN_H

struct child {
    int pid;
    int exited;
    int status; /* as wait4 gives it, once `exited` */
};

/* 0, or an errno: the program could not be started. `quiet`: its stdout and stderr go to /dev/null. */
int spawn_start(struct child *child, const char *program, char *const argv[], char *const envp[], int quiet);
int spawn_has_exited(struct child *child);
void spawn_kill(struct child *child); /* SIGKILL, and wait */

#endif
