/* The way of a call through the shim.
 *
 * An exported function asks what this process keeps (kept.h). Nothing: the real function, by a tail call. Else it goes
 * through vgpu_serve_<name>: look at the program, complete the environment, record, call the real function with it.
 *
 * All of it may run in a forked or vfork child and in a signal handler: no malloc, no lock, no stdio, errno as it was.
 * Only system and popen take a lock, as only they have state, and libc's own are not for such places either. */
#ifndef VGPU_EXEC_H
#define VGPU_EXEC_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "exec/complete.h"
#include "exec/kept.h"
#include "exec/program.h"
#include "exec/real.h"

struct vgpu_process;

enum {
    VGPU_EXEC_FEW = 64,     /* arguments of an execl that are put together on the stack */
    VGPU_EXEC_SMALL = 2048, /* bytes of a completed environment that is */
};

struct vgpu_exec_call {
    const struct vgpu_kept *kept;
    enum vgpu_exec_function function;
    uint64_t caller;   /* return address */
    char *const *envp; /* after vgpu_exec_begin: what the real function gets */
    const char *text;  /* the program's path or the command */
    void *room;        /* where `envp` is, if that is mapped */
    _Alignas(8) char small[VGPU_EXEC_SMALL];
};

/* Completes the environment for `program` into call->envp, and writes the ENTERED record. Answers 0, or ENOMEM: an
 * environment that cannot be kept is an error, never silently lost. */
int vgpu_exec_begin(struct vgpu_exec_call *call, enum vgpu_program program, const char *text, char *const envp[]);

/* After the real function, with 0 or its error: gives memory back, and writes a CALL record of the failure. */
void vgpu_exec_end(struct vgpu_exec_call *call, int error);

/* The records of the two alone, for who completes the environment himself. */
void vgpu_exec_record_entered(const struct vgpu_exec_call *call, enum vgpu_program program, uint32_t changes);
void vgpu_exec_record_failed(const struct vgpu_exec_call *call, int error);

/* This shim's process state, for its trace and its lock. NULL in a vfork child where it has not been set up: set-up
 * there, cut short by a signal, would leave the parent with half of it. Such a call leaves no record. */
struct vgpu_process *vgpu_exec_process(void);

#define VGPU_BARE(...) __VA_ARGS__
#define VGPU_EXEC(type, name, parameters, arguments)                                                                   \
    type vgpu_serve_##name(struct vgpu_exec_call *call, VGPU_BARE parameters);
#define VGPU_EXEC_LIST(type, name, parameters, last, plain, plain_arguments)
#define VGPU_EXEC_AT(type, name, parameters, arguments, symbol, mark, version)                                         \
    type vgpu_serve_##name(struct vgpu_exec_call *call, VGPU_BARE parameters);
#include "exec/exec.def"

#endif
