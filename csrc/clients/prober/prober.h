/* What the parts of the prober share. */
#ifndef VGPU_PROBER_H
#define VGPU_PROBER_H

#include <stddef.h>

enum {
    PROBER_ARGUMENTS = 16, /* no function of cuda.h or nvml.h has more than 14 */
    PROBER_LINE = 32768,   /* an answer */
};

/* One line of a job: words[0] says what to do. */
struct task {
    char **words;
    int count;
};

/* A line that grows; what does not fit is cut. */
struct line {
    size_t length;
    char text[PROBER_LINE];
};

void line_add(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Maps the memory that arguments point to. At a given address: a function that takes it for a number gets the same one
 * in each process and each run. 0: not there. */
int call_map(const char *address);

/* A call that takes longer is ended, and its process with it. */
extern unsigned call_seconds;

/* Before each call: starts its time. */
void call_begins(void);

/* Does `call NAME ARGUMENT...` or `text NAME ARGUMENT...` and adds what came of it to the line. */
void call_do(void *library, const struct task *task, struct line *line);

/* What `setup NAME ARGUMENT...` leaves in its first output is the next of the values that an argument `rN` means. */
void call_setup(void *library, const struct task *task);

/* The names that the library exports, looked up; several at one address are one function. */
void resolve_exports(void *library, char **names, int count);
void resolve_aliases(struct line *line);
void resolve_do(void *library, const struct task *task, const struct task *versions, struct line *line);

#endif
