/* The process gate. The questions are pure: the same facts and policy give the same answer, in a test as in sshd. */
#include "vgpu/gate.h"

#include "vgpu/image.h"
#include "vgpu/raw.h"

static int names(const char *rule, const char *text, size_t length, int is_comm) {
    size_t n = 0;
    while (n < length && rule[n] != '\0' && rule[n] == text[n]) {
        n++;
    }
    if (n == length && (rule[n] == '\0' || (is_comm && n == VGPU_COMM_SIZE - 1))) {
        return 1;
    }
    return vgpu_same_text(rule + n, "*");
}

int vgpu_names(const char *rule, const char *program, int is_comm) {
    return names(rule, program, vgpu_length(program), is_comm);
}

/* Is one of the words, each with its NUL, so named? The last one is followed by an empty one. */
static int names_a_word(const char *rule, const char *words, int is_comm) {
    for (const char *word = words; *word != '\0'; word += vgpu_length(word) + 1) {
        if (vgpu_names(rule, word, is_comm)) {
            return 1;
        }
    }
    return vgpu_same_text(rule, "*");
}

/* Is one of the components of the path so named? */
static int names_a_component(const char *rule, const char *path) {
    while (*path != '\0') {
        size_t n = 0;
        while (path[n] != '\0' && path[n] != '/') {
            n++;
        }
        if (n != 0 && names(rule, path, n, 0)) {
            return 1;
        }
        path += n + (path[n] == '/');
    }
    return vgpu_same_text(rule, "*");
}

static int has(const struct vgpu_facts *facts, enum vgpu_rule_fact fact, const char *rule) {
    switch (fact) {
    case VGPU_RULE_PROGRAM:
        /* The executable decides, as a process may give itself any comm; that stands in where /proc is not mounted. */
        return facts->exe[0] != '\0' ? vgpu_names(rule, facts->exe, 0) : vgpu_names(rule, facts->comm, 1);
    case VGPU_RULE_PATH:
        return vgpu_names(rule, facts->path, 0);
    case VGPU_RULE_COMM:
        return vgpu_names(rule, facts->comm, 1);
    case VGPU_RULE_ARGUMENT:
        return names_a_word(rule, facts->arguments, 0);
    case VGPU_RULE_ANCESTOR:
        return names_a_word(rule, facts->ancestors, 1);
    case VGPU_RULE_UNIT:
        return names_a_component(rule, facts->unit);
    case VGPU_RULE_FACTS:
        break;
    }
    return 0;
}

static const struct vgpu_rule *rules_of(const struct vgpu_image *image, struct vgpu_span span) {
    return (const struct vgpu_rule *)((const char *)image + span.offset);
}

/* 1 + the index of the first rule that names the process, 0 if there is none. */
static uint32_t first_of(const struct vgpu_image *image, struct vgpu_span span, const struct vgpu_facts *facts) {
    const struct vgpu_rule *rules = rules_of(image, span);
    for (uint32_t i = 0; i < span.count; i++) {
        uint32_t fact = 0;
        while (fact < VGPU_RULE_FACTS &&
               (rules[i].text[fact] == 0 ||
                has(facts, (enum vgpu_rule_fact)fact, vgpu_image_text(image, rules[i].text[fact])))) {
            fact++;
        }
        if (fact == VGPU_RULE_FACTS) {
            return 1 + i;
        }
    }
    return 0;
}

uint32_t vgpu_gate_rule(const struct vgpu_image *image, const struct vgpu_facts *facts) {
    uint32_t allowed = first_of(image, image->gate.allow, facts);
    if (allowed != 0) {
        return allowed;
    }
    uint32_t denied = first_of(image, image->gate.deny, facts);
    return denied != 0 ? image->gate.allow.count + denied : 0;
}

uint32_t vgpu_gate_wants(const struct vgpu_image *image) {
    const struct vgpu_span spans[] = {image->gate.allow, image->gate.deny};
    uint32_t wanted = 0;
    for (size_t n = 0; n < sizeof(spans) / sizeof(spans[0]); n++) {
        for (uint32_t i = 0; i < spans[n].count; i++) {
            for (uint32_t fact = 0; fact < VGPU_RULE_FACTS; fact++) {
                wanted |= rules_of(image, spans[n])[i].text[fact] != 0 ? 1u << fact : 0;
            }
        }
    }
    return wanted;
}

enum vgpu_ready vgpu_gate_when(const struct vgpu_image *image, int32_t libc_ready, uint32_t calls_before,
                               const char **reason) {
    if (libc_ready && calls_before >= image->gate.calls_before) {
        return VGPU_READY;
    }
    *reason = libc_ready ? "too early: fewer calls than gate.calls_before" : "too early: libc has not started";
    return VGPU_TOO_EARLY;
}

enum vgpu_ready vgpu_gate_who(const struct vgpu_image *image, int32_t secure, uint32_t rule, const char **reason) {
    /* A set-user-ID program acts with rights that whoever set VGPU_HOST does not have. */
    if (secure) {
        *reason = "not an application: it runs with raised privileges (AT_SECURE)";
        return VGPU_NOT_AN_APPLICATION;
    }
    const uint32_t allowed = image->gate.allow.count;
    if (rule > allowed) {
        *reason = vgpu_image_text(image, rules_of(image, image->gate.deny)[rule - 1 - allowed].reason);
        return VGPU_NOT_AN_APPLICATION;
    }
    *reason =
        rule != 0 ? vgpu_image_text(image, rules_of(image, image->gate.allow)[rule - 1].reason) : "an application";
    return VGPU_READY;
}

int is_safe_to_check_process(const struct vgpu_image *image, const struct vgpu_facts *facts) {
    const char *reason;
    return vgpu_gate_when(image, facts->libc_ready, facts->calls_before, &reason) == VGPU_READY;
}

int is_application_process(const struct vgpu_image *image, const struct vgpu_facts *facts) {
    const char *reason;
    return vgpu_gate_who(image, facts->secure, vgpu_gate_rule(image, facts), &reason) == VGPU_READY;
}

enum vgpu_ready vgpu_gate_ask(const struct vgpu_image *image, const struct vgpu_facts *facts, const char **reason) {
    const char *words = "no host image";
    enum vgpu_ready ready = VGPU_NO_IMAGE;
    if (image != NULL) {
        ready = vgpu_gate_when(image, facts->libc_ready, facts->calls_before, &words);
        if (ready == VGPU_READY) {
            ready = vgpu_gate_who(image, facts->secure, vgpu_gate_rule(image, facts), &words);
        }
    }
    if (reason != NULL) {
        *reason = words;
    }
    return ready;
}
