/* The process gate. The questions are pure: the same facts and policy give the same answer, in a test as in sshd. */
#include "vgpu/gate.h"

#include <fcntl.h>
#include <sys/auxv.h>

#include "vgpu/image.h"
#include "vgpu/raw.h"

int vgpu_names(const char *rule, const char *program, int is_comm) {
    size_t n = 0;
    while (rule[n] != '\0' && rule[n] == program[n]) {
        n++;
    }
    if (program[n] == '\0') {
        return rule[n] == '\0' || vgpu_same_text(rule + n, "*") || (is_comm && n == VGPU_COMM_SIZE - 1);
    }
    return vgpu_same_text(rule + n, "*");
}

static int named_in(const struct vgpu_image *image, struct vgpu_span span, const struct vgpu_facts *facts) {
    const uint32_t *rules = (const uint32_t *)((const char *)image + span.offset);
    for (uint32_t i = 0; i < span.count; i++) {
        const char *rule = vgpu_image_text(image, rules[i]);
        /* The executable decides, as a process may give itself any comm; that stands in where /proc is not mounted. */
        if (facts->exe[0] != '\0' ? vgpu_names(rule, facts->exe, 0) : vgpu_names(rule, facts->comm, 1)) {
            return 1;
        }
    }
    return 0;
}

int is_safe_to_check_process(const struct vgpu_image *image, const struct vgpu_facts *facts) {
    return facts->libc_ready && facts->calls_before >= image->gate.calls_before;
}

int is_application_process(const struct vgpu_image *image, const struct vgpu_facts *facts) {
    /* A set-user-ID program acts with rights that whoever set VGPU_HOST does not have. */
    if (facts->secure) {
        return 0;
    }
    return named_in(image, image->gate.allow, facts) || !named_in(image, image->gate.deny, facts);
}

enum vgpu_ready vgpu_gate_ask(const struct vgpu_image *image, const struct vgpu_facts *facts, const char **reason) {
    const char *words;
    enum vgpu_ready ready;
    if (image == NULL) {
        ready = VGPU_NO_IMAGE;
        words = "no host image";
    } else if (!is_safe_to_check_process(image, facts)) {
        ready = VGPU_TOO_EARLY;
        words = facts->libc_ready ? "too early: fewer calls than gate.calls_before" : "too early: libc has not started";
    } else if (!is_application_process(image, facts)) {
        ready = VGPU_NOT_AN_APPLICATION;
        words = facts->secure ? "not an application: it runs with raised privileges (AT_SECURE)"
                              : "not an application: gate.deny names the program";
    } else {
        ready = VGPU_READY;
        words = "an application";
    }
    if (reason != NULL) {
        *reason = words;
    }
    return ready;
}

static long read_whole(const char *path, char *buffer, size_t size) {
    long fd = vgpu_raw6(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0) {
        return -1;
    }
    long got = vgpu_raw3(SYS_read, fd, (long)buffer, (long)size);
    vgpu_raw3(SYS_close, fd, 0, 0);
    return got;
}

void vgpu_facts_gather(struct vgpu_facts *facts) {
    char path[4096];
    /* What ld.so keeps of the auxiliary vector: each look into /proc costs a new process more than all else here. */
    facts->secure = getauxval(AT_SECURE) != 0;
    facts->comm[0] = '\0';
    facts->exe[0] = '\0';
    long got = vgpu_raw3(SYS_readlink, (long)"/proc/self/exe", (long)path, sizeof(path) - 1);
    if (got > 0) {
        path[got] = '\0';
        const char *base = path;
        for (const char *at = path; *at != '\0'; at++) {
            if (*at == '/') {
                base = at + 1;
            }
        }
        vgpu_copy_text(facts->exe, sizeof(facts->exe), base);
        /* The kernel marks a program whose file is gone, as after an update; it is still that program. */
        static const char gone[] = " (deleted)";
        size_t length = vgpu_length(facts->exe);
        if (length > sizeof(gone) - 1 && vgpu_same_text(facts->exe + length - (sizeof(gone) - 1), gone)) {
            facts->exe[length - (sizeof(gone) - 1)] = '\0';
        }
    } else {
        got = read_whole("/proc/self/comm", facts->comm, sizeof(facts->comm));
        facts->comm[got > 0 ? got - 1 : 0] = '\0';
    }
}
