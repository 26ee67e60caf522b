/* Direct access of one GPU to another's memory.
 *
 * Which GPUs can is our choice: those that have NVLink, with the same major compute capability (doc). Over PCI Express
 * it depends on the machine between them, and virtual machines seldom have it. Parts of a GPU never can (MIG User
 * Guide). */
#include <stdlib.h>

#include "cuda/model.h"
#include "vgpu/image.h"

enum {
    P2P_PERFORMANCE_RANK = 1,
    P2P_ACCESS_SUPPORTED = 2,
    P2P_NATIVE_ATOMIC_SUPPORTED = 3,
    P2P_ARRAY_ACCESS_SUPPORTED = 4,
    P2P_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED = 5,

    ATTRIBUTE_HOST_NATIVE_ATOMIC = 86,

    /* CUatomicOperation and CUatomicOperationCapability. */
    ATOMIC_AND = 5,
    ATOMIC_XOR = 7,
    ATOMIC_EXCHANGE = 8,
    ATOMIC_CAS = 9,
    ATOMIC_FLOAT_ADD = 10,
    ATOMICS = 13,
    SIGNED = 1,
    UNSIGNED = 2,
    REDUCTION = 4,
    SCALAR_32 = 8,
    SCALAR_64 = 16,
    SCALAR_128 = 32,
};

struct vgpu_peer {
    struct vgpu_peer *next;
    CUcontext from;
    CUcontext to;
};

static int has_link(struct vgpu_process *process, const struct vgpu_device *device) {
    int64_t links;
    return device->mig == NULL && vgpu_image_property(process->image, device->gpu, VGPU_PROPERTY_NVLINKS, 0, &links) &&
           links > 0;
}

int vgpu_peer_possible(struct vgpu_process *process, CUdevice from, CUdevice to) {
    const struct vgpu_device *a = &process->cuda->device[from];
    const struct vgpu_device *b = &process->cuda->device[to];
    return from != to && has_link(process, a) && has_link(process, b) && a->gpu->compute_major == b->gpu->compute_major;
}

CUresult vgpu_cuDeviceCanAccessPeer(struct vgpu_process *process, struct vgpu_call *call, int *canAccessPeer,
                                    CUdevice dev, CUdevice peerDev) {
    if (canAccessPeer == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (vgpu_cuda_device(process, dev) == NULL || vgpu_cuda_device(process, peerDev) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    *canAccessPeer = vgpu_peer_possible(process, dev, peerDev);
    vgpu_call_output(call, canAccessPeer, sizeof(*canAccessPeer));
    return CUDA_SUCCESS;
}

static CUresult check_pair(struct vgpu_process *process, CUdevice source, CUdevice destination) {
    int there = vgpu_cuda_device(process, source) != NULL && vgpu_cuda_device(process, destination) != NULL;
    return there && source != destination ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

/* The devices are looked at before the attribute (measured by the lupine project on 590.48.01). All atomic operations
 * go over NVLink; all links of a pair are alike, so each has the highest rank. */
CUresult vgpu_cuDeviceGetP2PAttribute(struct vgpu_process *process, struct vgpu_call *call, int *value,
                                      CUdevice_P2PAttribute attrib, CUdevice srcDevice, CUdevice dstDevice) {
    if (value == NULL) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = check_pair(process, srcDevice, dstDevice);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (attrib < P2P_PERFORMANCE_RANK || attrib > P2P_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    int possible = vgpu_peer_possible(process, srcDevice, dstDevice);
    int is_question =
        attrib == P2P_ACCESS_SUPPORTED || attrib == P2P_NATIVE_ATOMIC_SUPPORTED || attrib == P2P_ARRAY_ACCESS_SUPPORTED;
    *value = is_question && possible;
    vgpu_call_output(call, value, sizeof(*value));
    return CUDA_SUCCESS;
}

/* What atomicAdd and its like can do: CUDA C++ Programming Guide, "Atomic Functions". */
static unsigned int abilities_of(CUatomicOperation operation) {
    if (operation >= ATOMIC_FLOAT_ADD) {
        return SIGNED | REDUCTION | SCALAR_32 | SCALAR_64;
    }
    if (operation == ATOMIC_EXCHANGE || operation == ATOMIC_CAS) {
        return UNSIGNED | SCALAR_32 | SCALAR_64 | SCALAR_128;
    }
    int bitwise = operation >= ATOMIC_AND && operation <= ATOMIC_XOR;
    return (bitwise ? UNSIGNED : SIGNED | UNSIGNED) | REDUCTION | SCALAR_32 | SCALAR_64;
}

static CUresult tell_abilities(struct vgpu_call *call, unsigned int *capabilities, const CUatomicOperation *operations,
                               unsigned int count, int native) {
    for (unsigned int i = 0; i < count; i++) {
        if (operations[i] < 0 || operations[i] >= ATOMICS) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    for (unsigned int i = 0; i < count; i++) {
        capabilities[i] = native ? abilities_of(operations[i]) : 0;
    }
    vgpu_call_output(call, capabilities, sizeof(*capabilities));
    return CUDA_SUCCESS;
}

CUresult vgpu_cuDeviceGetP2PAtomicCapabilities(struct vgpu_process *process, struct vgpu_call *call,
                                               unsigned int *capabilities, const CUatomicOperation *operations,
                                               unsigned int count, CUdevice srcDevice, CUdevice dstDevice) {
    if (capabilities == NULL || operations == NULL || count == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = check_pair(process, srcDevice, dstDevice);
    return refusal != CUDA_SUCCESS ? refusal
                                   : tell_abilities(call, capabilities, operations, count,
                                                    vgpu_peer_possible(process, srcDevice, dstDevice));
}

CUresult vgpu_cuDeviceGetHostAtomicCapabilities(struct vgpu_process *process, struct vgpu_call *call,
                                                unsigned int *capabilities, const CUatomicOperation *operations,
                                                unsigned int count, CUdevice dev) {
    if (capabilities == NULL || operations == NULL || count == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (vgpu_cuda_device(process, dev) == NULL) {
        return CUDA_ERROR_INVALID_DEVICE;
    }
    int native = vgpu_cuda_device_attribute(process, dev, ATTRIBUTE_HOST_NATIVE_ATOMIC) != 0;
    return tell_abilities(call, capabilities, operations, count, native);
}

static struct vgpu_peer **link_of(struct vgpu_cuda *cuda, CUcontext from, CUcontext to) {
    struct vgpu_peer **link = &cuda->peers;
    while (*link != NULL && ((*link)->from != from || (*link)->to != to)) {
        link = &(*link)->next;
    }
    return link;
}

static void unlink_peer(struct vgpu_peer **link) {
    struct vgpu_peer *peer = *link;
    *link = peer->next;
    free(peer);
}

void vgpu_peers_drop(struct vgpu_cuda *cuda, CUcontext context) {
    struct vgpu_peer **link = &cuda->peers;
    while (*link != NULL) {
        if (context == NULL || (*link)->from == context || (*link)->to == context) {
            unlink_peer(link);
        } else {
            link = &(*link)->next;
        }
    }
}

/* The current context and the one that it is to see, with their devices. */
static CUresult take_pair(struct vgpu_process *process, CUcontext peer, CUcontext *own, CUdevice *from, CUdevice *to) {
    CUresult refusal = vgpu_context_current(process, own, from);
    return refusal != CUDA_SUCCESS ? refusal : vgpu_context_check(process, peer, to);
}

CUresult vgpu_cuCtxEnablePeerAccess(struct vgpu_process *process, struct vgpu_call *call, CUcontext peerContext,
                                    unsigned int Flags) {
    (void)call;
    if (Flags != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUcontext own;
    CUdevice from;
    CUdevice to;
    CUresult refusal = take_pair(process, peerContext, &own, &from, &to);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    if (own == peerContext) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (!vgpu_peer_possible(process, from, to)) {
        return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
    }
    struct vgpu_peer **link = link_of(process->cuda, own, peerContext);
    if (*link != NULL) {
        return CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
    }
    *link = calloc(1, sizeof(**link));
    if (*link == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    (*link)->from = own;
    (*link)->to = peerContext;
    return CUDA_SUCCESS;
}

CUresult vgpu_cuCtxDisablePeerAccess(struct vgpu_process *process, struct vgpu_call *call, CUcontext peerContext) {
    (void)call;
    CUcontext own;
    CUdevice from;
    CUdevice to;
    CUresult refusal = take_pair(process, peerContext, &own, &from, &to);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct vgpu_peer **link = link_of(process->cuda, own, peerContext);
    if (*link == NULL) {
        return CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
    }
    unlink_peer(link);
    return CUDA_SUCCESS;
}
