/* The process gate: two pure questions over a struct of facts, and how the facts of a process are gathered. */
#ifndef VGPU_GATE_H
#define VGPU_GATE_H

#include "vgpu/wire.h"

enum vgpu_fact_size {
    VGPU_COMM_SIZE = 16, /* TASK_COMM_LEN: the kernel cuts a name at 15 bytes */
    VGPU_EXE_SIZE = 256,
};

struct vgpu_facts {
    char comm[VGPU_COMM_SIZE]; /* of the main thread, as another thread's says nothing of the program; "" if exe is
                                  known */
    char exe[VGPU_EXE_SIZE];   /* last component of /proc/self/exe */
    int32_t secure;            /* AT_SECURE: set-user-ID and the like */
    int32_t libc_ready;        /* libc has set up its environment: constructors may run */
    uint32_t calls_before;     /* calls of this process that the shims have answered so far */
};

enum vgpu_ready {
    VGPU_READY = 0,
    VGPU_TOO_EARLY = 1,
    VGPU_NOT_AN_APPLICATION = 2,
    VGPU_NO_IMAGE = 3,
};

/* Is the process far enough along to be asked anything? */
int is_safe_to_check_process(const struct vgpu_image *image, const struct vgpu_facts *facts);

/* Is this a program the virtual GPU is for (1), or sshd, systemd, lspci (0)? */
int is_application_process(const struct vgpu_image *image, const struct vgpu_facts *facts);

/* Both, in that order. *reason, if not NULL, is set to words that stay valid for ever. */
enum vgpu_ready vgpu_gate_ask(const struct vgpu_image *image, const struct vgpu_facts *facts, const char **reason);

/* Does `rule` name this program? One that ends in `*` names all that start so. The kernel cuts a comm at 15 bytes:
 * "ollama_llama_se" is ollama_llama_server. */
int vgpu_names(const char *rule, const char *program, int is_comm);

/* The facts of this process; this neither allocates nor touches errno. */
void vgpu_facts_gather(struct vgpu_facts *facts);

#endif
