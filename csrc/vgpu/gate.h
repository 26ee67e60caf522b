/* The process gate: two pure questions over a struct of facts, and how the facts of a process are gathered. */
#ifndef VGPU_GATE_H
#define VGPU_GATE_H

#include "vgpu/wire.h"

enum vgpu_fact_size {
    VGPU_COMM_SIZE = 16, /* TASK_COMM_LEN: the kernel cuts a name at 15 bytes */
    VGPU_EXE_SIZE = 256,
    VGPU_EXE_PATH_SIZE = 4096,   /* PATH_MAX */
    VGPU_ARGUMENTS_SIZE = 32768, /* own choice: of a longer command line the first words are known */
    VGPU_ANCESTORS_SIZE = 1024,  /* own choice: 64 of them, the nearest */
    VGPU_UNIT_SIZE = 4096,
};

/* What cannot be read of a process is empty here, and no rule but "*" names that. */
struct vgpu_facts {
    char comm[VGPU_COMM_SIZE];     /* of the main thread, as another thread's says nothing of the program; "" if exe is
                                      known and no rule asks for it */
    char exe[VGPU_EXE_SIZE];       /* last component of /proc/self/exe */
    int32_t secure;                /* AT_SECURE: set-user-ID and the like */
    int32_t libc_ready;            /* libc has set up its environment: constructors may run */
    uint32_t calls_before;         /* calls of this process that the shims have answered so far */
    char path[VGPU_EXE_PATH_SIZE]; /* /proc/self/exe */
    /* Only where a rule asks for it; each look into /proc takes longer than all else here. */
    char arguments[VGPU_ARGUMENTS_SIZE]; /* words behind the first that are not empty, each with its NUL */
    char ancestors[VGPU_ANCESTORS_SIZE]; /* the parent's comm, and so on up to init, each with its NUL */
    char unit[VGPU_UNIT_SIZE];           /* "/system.slice/ollama.service" */
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

/* Both, in that order. *reason, if not NULL, is set to words that stay valid as long as the image: they name the rule
 * that has decided. */
enum vgpu_ready vgpu_gate_ask(const struct vgpu_image *image, const struct vgpu_facts *facts, const char **reason);

/* The parts of it. The first question, answered READY or TOO_EARLY. */
enum vgpu_ready vgpu_gate_when(const struct vgpu_image *image, int32_t libc_ready, uint32_t calls_before,
                               const char **reason);
/* The rule that decides the second one: 1 + its index in `allow` and, behind that, `deny`; 0: none does. */
uint32_t vgpu_gate_rule(const struct vgpu_image *image, const struct vgpu_facts *facts);
/* The second question, the rule being known. */
enum vgpu_ready vgpu_gate_who(const struct vgpu_image *image, int32_t secure, uint32_t rule, const char **reason);

/* Does `rule` name this program? One that ends in `*` names all that start so. The kernel cuts a comm at 15 bytes:
 * "ollama_llama_se" is ollama_llama_server. */
int vgpu_names(const char *rule, const char *program, int is_comm);

/* Bit N: some rule asks for fact N of enum vgpu_rule_fact. */
uint32_t vgpu_gate_wants(const struct vgpu_image *image);

/* These neither allocate nor touch errno. What every process has, of the own one: exe, path, comm, secure. */
void vgpu_facts_gather(struct vgpu_facts *facts);
/* The same of process `pid`, or of the own one (0); `secure` is not known of another. */
void vgpu_facts_gather_of(int32_t pid, struct vgpu_facts *facts);
/* What the rules of `image` ask for beyond that. */
void vgpu_facts_gather_more(const struct vgpu_image *image, int32_t pid, struct vgpu_facts *facts);

/* Of what /proc/PID/cgroup says, in place: the path in systemd's own hierarchy, which is that of version 2 where there
 * is no other (cgroups(7)). */
void vgpu_facts_unit(char *text);

#endif
