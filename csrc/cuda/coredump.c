/* How core dumps of the GPU would be made. Kernels do not run, so none is; what is set is kept and answered, for a
 * context or for the whole program, before cuInit, too. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/model.h"

enum {
    ENABLE_ON_EXCEPTION = 1,
    TRIGGER_HOST = 2,
    LIGHTWEIGHT = 3,
    ENABLE_USER_TRIGGER = 4,
    DUMP_FILE = 5,
    DUMP_PIPE = 6,
    GENERATION_FLAGS = 7,
    SETTINGS = 8,

    TEXT_SIZE = 1024, /* of up to 1023 characters (doc) */
};

struct vgpu_coredump {
    struct vgpu_coredump *next;
    CUcontext owner; /* NULL: the program */
    CUcoredumpSettings attribute;
    char value[TEXT_SIZE];
};

static size_t size_of(CUcoredumpSettings attribute) {
    static const size_t sizes[SETTINGS] = {
        [ENABLE_ON_EXCEPTION] = 1, [TRIGGER_HOST] = 1,      [LIGHTWEIGHT] = 1,      [ENABLE_USER_TRIGGER] = 1,
        [DUMP_FILE] = TEXT_SIZE,   [DUMP_PIPE] = TEXT_SIZE, [GENERATION_FLAGS] = 4,
    };
    return attribute > 0 && attribute < SETTINGS ? sizes[attribute] : 0;
}

static struct vgpu_coredump *find(struct vgpu_cuda *cuda, CUcontext owner, CUcoredumpSettings attribute) {
    struct vgpu_coredump *at = cuda->coredumps;
    while (at != NULL && (at->owner != owner || at->attribute != attribute)) {
        at = at->next;
    }
    return at;
}

void vgpu_coredumps_drop(struct vgpu_cuda *cuda, CUcontext context) {
    struct vgpu_coredump **link = &cuda->coredumps;
    while (*link != NULL) {
        struct vgpu_coredump *at = *link;
        if (context == NULL || at->owner == context) {
            *link = at->next;
            free(at);
        } else {
            link = &at->next;
        }
    }
}

/* Defaults: doc. */
static void by_default(CUcoredumpSettings attribute, char value[TEXT_SIZE]) {
    memset(value, 0, TEXT_SIZE);
    if (attribute == TRIGGER_HOST) {
        value[0] = 1;
    } else if (attribute == DUMP_FILE || attribute == DUMP_PIPE) {
        char host[HOST_NAME_MAX + 1] = "";
        gethostname(host, HOST_NAME_MAX);
        snprintf(value, TEXT_SIZE, "%s.cuda.%s.%d", attribute == DUMP_FILE ? "core" : "corepipe", host, (int)getpid());
    }
}

/* With `value` NULL the size is asked for (doc). */
static CUresult get(struct vgpu_process *process, struct vgpu_call *call, CUcontext owner, CUcoredumpSettings attribute,
                    void *value, size_t *size) {
    char kept[TEXT_SIZE];
    if (value == NULL) {
        *size = size_of(attribute);
        vgpu_call_output(call, size, sizeof(*size));
        return CUDA_SUCCESS;
    }
    struct vgpu_coredump *found = find(process->cuda, owner, attribute);
    found = found != NULL ? found : find(process->cuda, NULL, attribute);
    by_default(attribute, kept);
    const char *from = found != NULL ? found->value : kept;
    int is_text = size_of(attribute) == TEXT_SIZE;
    size_t needed = is_text ? strlen(from) + 1 : size_of(attribute);
    if (*size < needed) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memcpy(value, from, needed);
    if (is_text) {
        call->event.text = value;
    }
    return CUDA_SUCCESS;
}

static CUresult set(struct vgpu_process *process, struct vgpu_call *call, CUcontext owner, CUcoredumpSettings attribute,
                    const void *value, size_t *size) {
    if (value == NULL) {
        return get(process, call, owner, attribute, NULL, size);
    }
    size_t most = size_of(attribute);
    int is_text = most == TEXT_SIZE;
    if (*size == 0 || *size > most || (!is_text && *size < most) || (is_text && strnlen(value, *size) == TEXT_SIZE)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    struct vgpu_coredump *found = find(process->cuda, owner, attribute);
    if (found == NULL) {
        found = calloc(1, sizeof(*found));
        if (found == NULL) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        *found = (struct vgpu_coredump){.next = process->cuda->coredumps, .owner = owner, .attribute = attribute};
        process->cuda->coredumps = found;
    }
    memset(found->value, 0, sizeof(found->value));
    memcpy(found->value, value, is_text ? strnlen(value, *size) : *size);
    if (!is_text && most == 1) {
        found->value[0] = found->value[0] != 0;
    }
    return CUDA_SUCCESS;
}

/* The attribute is looked at first: measured on 535.261.03. */
static CUresult check(CUcoredumpSettings attribute, const size_t *size) {
    return size_of(attribute) > 0 && size != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult current(struct vgpu_process *process, CUcoredumpSettings attribute, const size_t *size,
                        CUcontext *context) {
    CUdevice dev;
    CUresult refusal = check(attribute, size);
    refusal = refusal != CUDA_SUCCESS ? refusal : vgpu_cuda_ready(process);
    return refusal != CUDA_SUCCESS ? refusal : vgpu_context_current(process, context, &dev);
}

CUresult vgpu_cuCoredumpGetAttribute(struct vgpu_process *process, struct vgpu_call *call, CUcoredumpSettings attrib,
                                     void *value, size_t *size) {
    CUcontext context;
    CUresult refusal = current(process, attrib, size, &context);
    return refusal != CUDA_SUCCESS ? refusal : get(process, call, context, attrib, value, size);
}

CUresult vgpu_cuCoredumpGetAttributeGlobal(struct vgpu_process *process, struct vgpu_call *call,
                                           CUcoredumpSettings attrib, void *value, size_t *size) {
    CUresult refusal = check(attrib, size);
    return refusal != CUDA_SUCCESS ? refusal : get(process, call, NULL, attrib, value, size);
}

/* The trigger and its pipe are the program's alone (doc). */
CUresult vgpu_cuCoredumpSetAttribute(struct vgpu_process *process, struct vgpu_call *call, CUcoredumpSettings attrib,
                                     void *value, size_t *size) {
    CUcontext context;
    CUresult refusal = current(process, attrib, size, &context);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (value != NULL && (attrib == ENABLE_USER_TRIGGER || attrib == DUMP_PIPE)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return set(process, call, context, attrib, value, size);
}

CUresult vgpu_cuCoredumpSetAttributeGlobal(struct vgpu_process *process, struct vgpu_call *call,
                                           CUcoredumpSettings attrib, void *value, size_t *size) {
    CUresult refusal = check(attrib, size);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_coredump *trigger = find(process->cuda, NULL, ENABLE_USER_TRIGGER);
    if (value != NULL && attrib == DUMP_PIPE && trigger != NULL && trigger->value[0] != 0) {
        return CUDA_ERROR_NOT_PERMITTED;
    }
    return set(process, call, NULL, attrib, value, size);
}
