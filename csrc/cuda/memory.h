/* What is in device memory, and what is where: the address space that all contexts of a process share.
 *
 *   store   contents: host memory that is taken as it is written, and bounded by memory.backing
 *   region  addresses: one allocation, one registered range, one mapping; it has a store
 *
 * Device addresses are no user-space addresses; those of host, managed and reserved memory are. */
#ifndef VGPU_CUDA_MEMORY_H
#define VGPU_CUDA_MEMORY_H

#include "cuda/names.h"
#include "vgpu/wire.h"

#define VGPU_USER_SPACE_END 0x0000800000000000ull /* the first address that no x86-64 process has */
#define VGPU_BACKING_DEFAULT ((uint64_t)1 << 30)  /* where the host image says 0 */

enum {
    VGPU_PAGE = 4096,
    VGPU_GRANULE = 65536, /* what contents are counted in */
};

struct vgpu_process;
struct vgpu_call;
struct vgpu_cuda;
struct vgpu_memory;
struct vgpu_physical;
struct vgpu_reservation;
struct vgpu_pool;
struct vgpu_advice;
struct vgpu_block;

/* ------------------------------------------------------------------------------------------------- contents -- */

struct vgpu_store {
    uint8_t *bytes; /* NULL: nothing has been written yet */
    uint64_t size;
    uint64_t *written; /* a bit for each granule; one that has not been written is zeros */
    uint64_t charged;  /* what it counts for in memory.backing */
    uint32_t users;
    uint32_t direct; /* all of it is there: memory that the program itself, or another process, writes to */
    uint32_t own;    /* `bytes` is a mapping that ends with it */
    int file;        /* the memfd that it shares with other processes; -1: none */
    uint64_t inode;  /* of the memfd: the program may close any descriptor, and its number be another file's then */
};

/* With one user; NULL: no memory. */
struct vgpu_store *vgpu_store_new(uint64_t size);
/* Memory that the program sees, too, in full charged; NULL: no memory, or no backing left for it. */
struct vgpu_store *vgpu_store_new_managed(struct vgpu_process *process, struct vgpu_call *call, uint64_t size);
/* Memory of the program at `bytes`, not charged. `own`: it ends with the store. */
struct vgpu_store *vgpu_store_new_direct(void *bytes, uint64_t size, int own);
/* What another process has shared: takes the descriptor over, unless NULL is answered. */
struct vgpu_store *vgpu_store_new_shared(struct vgpu_process *process, struct vgpu_call *call, int file, uint64_t size);
/* One user less; the last one ends it. */
void vgpu_store_drop(struct vgpu_memory *memory, struct vgpu_store *store);
/* Moves the contents into a memfd called `name`, in full charged: 1, or 0: not possible, and all is as it was. */
int vgpu_store_share(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_store *store, const char *name);

/* Its memfd; -1: it has none, or the program has closed it. */
int vgpu_store_file(const struct vgpu_store *store);

/* The contents from `offset` on, NULL if they are zeros that nobody has written; `length` is cut to where that
 * changes. */
const uint8_t *vgpu_store_read(const struct vgpu_store *store, uint64_t offset, uint64_t *length);
/* Room for contents; NULL: no backing left, and the record says so. */
uint8_t *vgpu_store_write(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_store *store,
                          uint64_t offset, uint64_t length);

/* ------------------------------------------------------------------------------------------------ addresses -- */

enum vgpu_region_kind {
    VGPU_REGION_DEVICE = 1, /* cuMemAlloc and its like */
    VGPU_REGION_POOL = 2,   /* cuMemAllocAsync */
    VGPU_REGION_MANAGED = 3,
    VGPU_REGION_HOST = 4, /* cuMemHostAlloc and its like */
    VGPU_REGION_REGISTERED = 5,
    VGPU_REGION_MAPPED = 6, /* cuMemMap */
    VGPU_REGION_IPC = 7,    /* cuIpcOpenMemHandle */
    VGPU_REGION_GRAPH = 8,  /* a node of a graph that was launched */
};

struct vgpu_region {
    uint64_t address;
    uint64_t size;
    struct vgpu_store *store;
    uint64_t offset; /* where in the store the region begins */
    uint64_t id;     /* never given twice; vgpu_region_add sets it */
    enum vgpu_region_kind kind;
    CUcontext owner; /* goes with it; NULL: does not depend on a context */
    CUdevice device;
    unsigned int flags; /* as the program gave them */
    uint32_t sync;      /* CU_POINTER_ATTRIBUTE_SYNC_MEMOPS */
    uint32_t opened;    /* IPC: how many times */
    uint32_t is_part;   /* of a module: the program cannot free it */
    uint64_t inode;     /* IPC: of the memfd */
    struct vgpu_pool *pool;
    struct vgpu_physical *physical; /* MAPPED */
    struct vgpu_reservation *reservation;
    uint8_t access[VGPU_GPUS_MAX]; /* MAPPED: of enum vgpu_memory_kind VGPU_ACCESS_*, by device */
    struct vgpu_advice *advice;    /* MANAGED: managed.c */
    struct vgpu_block *block;      /* GRAPH: graph_memory.c */
};

struct vgpu_memory {
    struct vgpu_region **regions; /* by rising address; they never overlap */
    size_t count;
    size_t room;
    uint64_t ids;
    uint64_t next_address;
    uint64_t next_low_address;
    uint64_t charged;                              /* of memory.backing, bytes */
    struct vgpu_physical *physicals;               /* vmm.c */
    uint64_t physicals_given;                      /* vmm.c */
    struct vgpu_reservation *reservations;         /* vmm.c */
    struct vgpu_pool *default_pool[VGPU_GPUS_MAX]; /* pool.c */
    struct vgpu_pool *pool[VGPU_GPUS_MAX];         /* pool.c: the current one */
};

/* The region that the address is in, NULL: none. */
struct vgpu_region *vgpu_region_at(const struct vgpu_memory *memory, uint64_t address);
/* The first region that begins after the address, NULL: none. */
struct vgpu_region *vgpu_region_after(const struct vgpu_memory *memory, uint64_t address);
/* A copy of `region` with an id, in its place; it takes the store over. NULL: no memory, and the store is the caller's.
 * Only where no other region is. */
struct vgpu_region *vgpu_region_add(struct vgpu_memory *memory, const struct vgpu_region *region);
/* Takes it out and gives back all that it held. */
void vgpu_region_remove(struct vgpu_cuda *cuda, struct vgpu_region *region);
int vgpu_region_is_free(const struct vgpu_memory *memory, uint64_t address, uint64_t size);
/* An address for device memory, never given out before; 0: none left. `low`: below 4 GiB. */
uint64_t vgpu_region_new_address(struct vgpu_memory *memory, uint64_t size, int low);

/* ---------------------------------------------------------------------------------------------------- moving -- */

/* Where bytes are: from `at` on in a store (an array), or without a store at an address of the process. */
struct vgpu_place {
    struct vgpu_store *store;
    uint64_t at;
};

/* CUDA_SUCCESS, or why [address, address + size) cannot be used: it is more than one allocation, or none, or a mapping
 * that `device` has no such access to. `host`: memory that CUDA does not know of is right, too. */
CUresult vgpu_reach(struct vgpu_process *process, CUdevice device, uint64_t address, uint64_t size, int access,
                    int host);
/* Both may be used: CUDA_SUCCESS, OUT_OF_MEMORY (no backing left), INVALID_VALUE (the host has nothing there). A copy
 * that fails may have done a part. */
CUresult vgpu_move(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_place to, struct vgpu_place from,
                   uint64_t size);
/* Elements of `width` bytes (1, 2, 4); `size` and the place are multiples of it. */
CUresult vgpu_fill(struct vgpu_process *process, struct vgpu_call *call, struct vgpu_place to, uint32_t element,
                   uint32_t width, uint64_t size);

/* copy_2d.c, fill.c: as the functions of the API do it, for nodes of graphs. */
CUresult vgpu_copy_3d(struct vgpu_process *process, struct vgpu_call *call, const CUDA_MEMCPY3D *copy);
CUresult vgpu_fill_2d(struct vgpu_process *process, struct vgpu_call *call, CUdeviceptr to, size_t pitch,
                      uint32_t element, uint32_t width, size_t elements, size_t rows);

/* memory.c, managed.c: memory of a device that goes with `owner`, NULL: with none. */
CUresult vgpu_memory_new(struct vgpu_process *process, CUcontext owner, CUdevice device, uint64_t size, int low,
                         uint64_t *address);
CUresult vgpu_managed_new(struct vgpu_process *process, struct vgpu_call *call, CUcontext owner, CUdevice device,
                          uint64_t size, unsigned int flags, uint64_t *address);

/* managed.c */
void vgpu_advice_free(struct vgpu_advice *advice);

/* pool.c: a region of the pool is gone. */
void vgpu_pool_give_back(struct vgpu_cuda *cuda, struct vgpu_pool *pool, uint64_t size);

/* graph_memory.c: a region of kind GRAPH is gone. */
void vgpu_graph_memory_gone(struct vgpu_cuda *cuda, struct vgpu_block *block);
/* Is the address in memory of a node, be there anything behind it or not? What a stream's capture asks. */
int vgpu_graph_memory_has(const struct vgpu_process *process, uint64_t address);
/* May the program free it, or does a node of the graph that it is of? */
int vgpu_graph_memory_is_free_to_go(const struct vgpu_block *block);

/* vmm.c: a region of kind MAPPED is gone. */
void vgpu_mapping_gone(struct vgpu_cuda *cuda, const struct vgpu_region *region);

#endif
