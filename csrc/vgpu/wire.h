/* The two formats through which Python and C talk, and their only definition: the host image (all that Python
 * tells C) and the trace (all that C tells Python).
 *
 * The C compiler reads this file, and cffi reads it after `cc -E -DVGPU_CDEF`. Hence enums instead of macros, fixed
 * width types, explicit padding, no bit-fields. All values are in the byte order of the machine (x86-64).
 *
 * A reader decides by the format version alone. Version numbers only grow, and a reader keeps every version since 1. */
#ifndef VGPU_WIRE_H
#define VGPU_WIRE_H

#ifndef VGPU_CDEF
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#endif

enum vgpu_version {
    VGPU_IMAGE_VERSION = 3, /* 2: what NVML tells of a GPU, processes, MIG, memory policy; faults that crash, hang..
                               3: rules of the gate over more than a program's name */
    VGPU_TRACE_VERSION = 1,
};

/* Sizes of text fields, the closing NUL included. Those of NVML's own buffers are nvml.h's (NAME_V2 96, SYSTEM_DRIVER
 * 80). */
enum vgpu_size {
    VGPU_MAGIC_SIZE = 8,
    VGPU_BUILD_ID_SIZE = 48,
    VGPU_NAME_SIZE = 96,
    VGPU_SERIAL_SIZE = 32,
    VGPU_VERSION_TEXT_SIZE = 80,
    VGPU_UUID_BYTES = 16,
    VGPU_GPUS_MAX = 8,
    VGPU_FAULTS_MAX = 64,
};

/* ---------------------------------------------------------------------------------------------- the host image -- */

/* `count` objects from byte `offset` of the image on. */
struct vgpu_span {
    uint32_t offset;
    uint32_t count;
};

/* One cuDeviceGetAttribute answer. */
struct vgpu_attribute {
    int32_t id;
    int32_t value;
};

/* What NVML tells of a GPU, and CUDA does not: numbers by name and index. Which there are: vgpu/properties.def. A
 * property that a GPU does not have is not there, and who asks for it gets NOT_SUPPORTED. */
struct vgpu_property {
    uint16_t id;    /* enum vgpu_property_id */
    uint16_t index; /* of several: which clock, which threshold, which entry of a list; else 0 */
    uint32_t reserved;
    int64_t value;
};

struct vgpu_text {
    uint16_t id; /* enum vgpu_text_id */
    uint16_t index;
    uint32_t text; /* text */
};

enum vgpu_process_kind {
    VGPU_PROCESS_COMPUTE = 1,
    VGPU_PROCESS_GRAPHICS = 2,
    VGPU_PROCESS_MPS = 3,
};

/* A process that uses a GPU, as NVML lists it. */
struct vgpu_gpu_process {
    uint32_t kind; /* enum vgpu_process_kind */
    uint32_t pid;  /* 0: the process that asks */
    uint32_t name; /* text */
    uint32_t sm;   /* utilisation in percent, each */
    uint32_t memory;
    uint32_t encoder;
    uint32_t decoder;
    uint32_t mig;  /* 1 + which MIG device of the GPU it runs on; 0: the whole GPU */
    uint64_t used; /* bytes */
};

/* A MIG device: one compute instance in one GPU instance. */
struct vgpu_mig_device {
    char name[VGPU_NAME_SIZE]; /* "NVIDIA H100 80GB HBM3 MIG 1g.10gb" */
    uint8_t uuid[VGPU_UUID_BYTES];
    uint32_t gpu_instance; /* its id */
    uint32_t compute_instance;
    uint32_t profile;         /* NVML_GPU_INSTANCE_PROFILE_* */
    uint32_t compute_profile; /* NVML_COMPUTE_INSTANCE_PROFILE_* */
    uint32_t start;           /* placement: first memory slice */
    uint32_t size;            /* memory slices */
    uint32_t compute_slices;
    uint32_t multiprocessors;
    uint64_t memory; /* bytes */
};

/* What a GPU instance can be: a row of `nvidia-smi mig -lgip`. */
struct vgpu_mig_profile {
    uint32_t name;            /* text: "1g.10gb" */
    uint32_t profile;         /* NVML_GPU_INSTANCE_PROFILE_*; the compute instance that fills it is compute_profile */
    uint32_t compute_profile; /* NVML_COMPUTE_INSTANCE_PROFILE_* */
    uint32_t id;              /* the number that nvidia-smi shows, and nvmlGpuInstanceProfileInfo_t has */
    uint32_t compute_slices;
    uint32_t memory_slices;
    uint32_t multiprocessors;
    uint32_t copy_engines;
    uint32_t decoders;
    uint32_t encoders;
    uint32_t jpegs;
    uint32_t ofas;
    uint32_t instances; /* at most so many at a time */
    uint32_t starts;    /* bit N: it may begin at memory slice N */
    uint64_t memory;    /* bytes */
};

struct vgpu_gpu {
    char name[VGPU_NAME_SIZE];
    char serial[VGPU_SERIAL_SIZE];
    uint8_t uuid[VGPU_UUID_BYTES];      /* as CUDA answers it */
    uint8_t nvml_uuid[VGPU_UUID_BYTES]; /* as NVML answers it; the same on a sound host */
    uint32_t pci_domain;
    uint32_t pci_bus;
    uint32_t pci_device;
    uint32_t pci_id;           /* device << 16 | vendor, as nvmlPciInfo_t has it */
    uint32_t pci_subsystem_id; /* subsystem device << 16 | subsystem vendor */
    int32_t minor_number;      /* N of /dev/nvidiaN */
    int32_t compute_major;
    int32_t compute_minor;
    uint64_t memory_total;         /* bytes, as NVML counts */
    uint64_t memory_reserved;      /* bytes that NVML counts and CUDA does not: cuDeviceTotalMem is total - reserved */
    uint64_t memory_used;          /* bytes in use before the program runs */
    struct vgpu_span attributes;   /* of struct vgpu_attribute */
    struct vgpu_span properties;   /* of struct vgpu_property, by id, then by index */
    struct vgpu_span texts;        /* of struct vgpu_text, likewise */
    struct vgpu_span processes;    /* of struct vgpu_gpu_process */
    struct vgpu_span migs;         /* of struct vgpu_mig_device, by start */
    struct vgpu_span mig_profiles; /* of struct vgpu_mig_profile */
};

struct vgpu_driver {
    char version[VGPU_VERSION_TEXT_SIZE];      /* "580.95.05" */
    char nvml_version[VGPU_VERSION_TEXT_SIZE]; /* "13.580.95.05" */
    int32_t cuda_version;                      /* 1000 * major + 10 * minor, as cuDriverGetVersion */
    int32_t reserved;
};

enum vgpu_fault_flag {
    VGPU_FAULT_RESULT = 1, /* answer `result` and do not ask the model */
    VGPU_FAULT_VALUE = 2,  /* ask the model, then put `value` where its first output went */
    VGPU_FAULT_TEXT = 4,   /* ask the model, then put `text` where its first text went, cut to the caller's size */
    VGPU_FAULT_HIDDEN = 8, /* cuGetProcAddress does not know this function */
    VGPU_FAULT_CRASH = 16, /* the calling process is ended by SIGSEGV */
    VGPU_FAULT_HANG = 32,  /* the call never returns */
    VGPU_FAULT_LOST = 64,  /* from this call on GPU `value` has fallen off the bus, for both APIs' models */
};

enum vgpu_property_id {
#define VGPU_PROPERTY(name, id) VGPU_PROPERTY_##name = id,
#include "vgpu/properties.def"
};

enum vgpu_text_id {
#define VGPU_TEXT(name, id) VGPU_TEXT_##name = id,
#include "vgpu/properties.def"
};

/* What one function does otherwise. Faults are looked at in order; one counts the calls of its function, program and
 * thread that no earlier one has taken, lets `after` of them pass, and takes the next `times`. Those for one GPU come
 * last: which GPU a call is about is known when the model has been asked. */
struct vgpu_fault {
    uint32_t function; /* text: "cuInit", "open" */
    uint32_t flags;    /* of enum vgpu_fault_flag; 0: only the delay */
    int32_t result;    /* CUresult, nvmlReturn_t; for a file function an errno */
    uint32_t after;    /* calls of this process that pass unharmed first */
    uint32_t times;    /* calls after those that it holds for; 0: all */
    uint32_t delay_ms; /* slept before the answer */
    uint32_t text;     /* text */
    uint32_t output;   /* which of the function's outputs `value` goes to, from 0 */
    uint32_t program;  /* text: the file name of the program it is for, '*' at the end stands for any rest; 0: all */
    uint32_t thread;   /* text: the name of the thread it is for, likewise; "main": a process's first thread; 0: all */
    uint32_t gpu;      /* 1 + the GPU that a call must be about; 0: any */
    uint32_t reserved;
    int64_t value;
};

enum vgpu_path_kind {
    VGPU_PATH_EXACT = 1, /* this path alone */
    VGPU_PATH_TREE = 2,  /* this path and all below it */
};

/* One place of the simulated host that is answered from the tree of virtual files. */
struct vgpu_path {
    uint32_t path;   /* text: what a program asks for, absolute and normal */
    uint32_t target; /* text: where the tree has it, absolute */
    uint32_t path_length;
    uint32_t target_length;
    uint32_t kind;     /* enum vgpu_path_kind */
    uint32_t device;   /* 1: a character device; a stat of it answers S_IFCHR and `rdev` */
    uint64_t rdev;     /* makedev(major, minor) */
    uint64_t tree_dev; /* st_dev and st_ino of the tree's file: how fstat knows it, without a table of descriptors */
    uint64_t tree_ino;
};

/* What the tree's own files, directories and links stand for: it is in the nanoseconds of their st_mtime, so that a
 * stat by descriptor tells it as one by path does. */
enum vgpu_mark {
    VGPU_MARK = 0x23310000, /* the upper half of those nanoseconds */
    VGPU_MARK_MASK = 0x7fff0000,
    VGPU_MARK_SYS = 1 << 14, /* the file system that the host has there */
    VGPU_MARK_PROC = 2 << 14,
    VGPU_MARK_DEV = 3 << 14,
    VGPU_MARK_READ_ONLY = 1 << 13,   /* a directory that its owner, too, may not write to */
    VGPU_MARK_MOUNT = 1 << 12,       /* the root of that file system */
    VGPU_MARK_COUNT = (1 << 12) - 1, /* a directory: st_nlink, 0: the tree's own is right. A file: which bit of st_size
                                        is set, plus 1; 0: none is */
};

/* The families of libc functions in the interception table; bit N of vgpu_gate_policy.before_gate is family N. */
enum vgpu_family {
    VGPU_FAMILY_OPEN = 0,
    VGPU_FAMILY_FOPEN = 1,
    VGPU_FAMILY_STAT = 2,
    VGPU_FAMILY_ACCESS = 3,
    VGPU_FAMILY_READLINK = 4,
    VGPU_FAMILY_OPENDIR = 5,
    VGPU_FAMILIES = 6,
};

/* What a rule of the gate may ask of a process. */
enum vgpu_rule_fact {
    VGPU_RULE_PROGRAM = 0,  /* the file name of its executable; where that is not known, its comm */
    VGPU_RULE_PATH = 1,     /* its executable, the whole path */
    VGPU_RULE_COMM = 2,     /* the name of its main thread */
    VGPU_RULE_ARGUMENT = 3, /* one word of its command line behind the first */
    VGPU_RULE_ANCESTOR = 4, /* the comm of its parent, of that one's parent, and so on */
    VGPU_RULE_UNIT = 5,     /* one component of its control group: "ollama.service" */
    VGPU_RULE_FACTS = 6,
};

/* Names the processes that have every fact it asks for; a text that ends in `*` stands for all that start so. */
struct vgpu_rule {
    uint32_t text[VGPU_RULE_FACTS]; /* text each; 0: whatever it is */
    uint32_t reason;                /* text: what the trace has where this rule decides */
    uint32_t reserved;
};

struct vgpu_gate_policy {
    struct vgpu_span allow; /* of struct vgpu_rule; they win over `deny` */
    struct vgpu_span deny;  /* of struct vgpu_rule */
    uint32_t auto_init;     /* 1: a process that passes the gate has had its cuInit(0) */
    uint32_t calls_before;  /* how many calls of a process are answered "too early" */
    uint32_t before_gate;   /* families answered from the tree without asking the gate */
    uint32_t reserved;
};

struct vgpu_memory_policy {
    uint64_t backing; /* bytes of host memory that the contents of device memory may take in one process */
};

struct vgpu_image {
    char magic[VGPU_MAGIC_SIZE]; /* "VGPUHOST" */
    uint32_t version;            /* VGPU_IMAGE_VERSION */
    uint32_t header_size;        /* sizeof(struct vgpu_image) */
    uint64_t size;               /* of the whole file, in bytes */
    char build_id[VGPU_BUILD_ID_SIZE];
    struct vgpu_driver driver;
    struct vgpu_gate_policy gate;
    struct vgpu_memory_policy memory;
    uint32_t strict; /* for the harness, which may be given an image: calls without a model fail the run */
    uint32_t reserved;
    struct vgpu_span gpus;   /* of struct vgpu_gpu */
    struct vgpu_span faults; /* of struct vgpu_fault */
    struct vgpu_span paths;  /* of struct vgpu_path, longest path first */
    struct vgpu_span text;   /* of char; a `text` above is an offset from the start of the image into here */
};

/* ------------------------------------------------------------------------------------------------- the trace -- */

enum vgpu_trace_size {
    VGPU_SLOT_SIZE = 128,
    VGPU_TRACE_HEADER_SIZE = 4096,
    VGPU_RECORD_TEXT_SIZE = 40, /* text bytes in a record's first slot */
    VGPU_MORE_TEXT_SIZE = 120,  /* text bytes in each further slot */
    VGPU_RECORD_INPUTS = 3,
    VGPU_RECORD_OUTPUTS = 2,
    VGPU_RECORD_SLOTS_MAX = 36, /* PATH_MAX and a name; longer text is cut, and flagged */
};

struct vgpu_trace_header {
    char magic[VGPU_MAGIC_SIZE]; /* "VGPUTRCE" */
    uint32_t version;            /* VGPU_TRACE_VERSION */
    uint32_t slot_size;          /* VGPU_SLOT_SIZE */
    uint64_t capacity;           /* slots behind the header's VGPU_TRACE_HEADER_SIZE bytes */
    uint64_t next;               /* atomic: slots handed out; may pass `capacity` */
    uint64_t dropped;            /* atomic: records that found no room */
    uint64_t start_realtime_ns;
    uint64_t start_monotonic_ns;
    char build_id[VGPU_BUILD_ID_SIZE];
    uint32_t lost; /* atomic: bit N: GPU N has fallen off the bus, for all processes that write here */
    uint32_t reserved;
};

/* The life of a slot. A writer that is killed leaves FREE (counted as torn) or BEGUN (the same). */
enum vgpu_slot_state {
    VGPU_SLOT_FREE = 0,
    VGPU_SLOT_BEGUN = 0x76620000,
    VGPU_SLOT_DONE = 0x76640000, /* first slot of a whole record */
    VGPU_SLOT_MORE = 0x766d0000, /* carries further text of the record before it */
};

enum vgpu_record_kind {
    VGPU_RECORD_MAPPED = 1, /* auditor: an object is in the process. text: path. in[0]: load address */
    VGPU_RECORD_INIT =
        2, /* shim: its first use in a process. text: path of the program. in[0]: enum vgpu_image_state */
    VGPU_RECORD_REFUSED = 3, /* shim: the host image is not usable. text: the reason */
    VGPU_RECORD_GATE = 4,    /* shim: a decision of the process gate. in[0]: enum vgpu_ready. text: the reason */
    VGPU_RECORD_ENTERED = 5, /* shim: a function that may take long was entered; its CALL follows if it returns */
    VGPU_RECORD_CALL = 6,    /* shim: a function returned. in, out, result, text: what mattered */
};

enum vgpu_library {
    VGPU_LIBRARY_NONE = 0,
    VGPU_LIBRARY_CUDA = 1,
    VGPU_LIBRARY_NVML = 2,
    VGPU_LIBRARY_SYSCALL = 3,
    VGPU_LIBRARY_EXEC = 4,
    VGPU_LIBRARY_AUDIT = 5,
    VGPU_LIBRARY_CUDALIBS = 6,
    VGPU_LIBRARY_DLOPEN = 7, /* csrc/wrapper. name: "dlopen", text: the file; in: calls before, bypassed calls, led */
};

enum vgpu_record_flag {
    VGPU_RECORD_CUT = 1,        /* the text was longer than VGPU_RECORD_SLOTS_MAX slots hold */
    VGPU_RECORD_FAULTED = 2,    /* a fault changed the answer */
    VGPU_RECORD_UNMODELLED = 4, /* there is no model: the answer was NOT_SUPPORTED */
};

/* A record: this slot, then `slots - 1` slots of struct vgpu_more. Its text is two strings, each with its NUL:
 * the entry point's name, then the record's text. */
struct vgpu_record {
    uint32_t state; /* atomic: enum vgpu_slot_state; written last */
    uint32_t index; /* low 32 bits of this slot's number: a stray slot is recognised */
    uint16_t kind;  /* enum vgpu_record_kind */
    uint16_t slots;
    uint8_t library;  /* enum vgpu_library */
    uint8_t flags;    /* of enum vgpu_record_flag */
    uint8_t inputs;   /* how many of in[] are meant */
    uint8_t outputs;  /* how many of out[] are meant */
    uint64_t time_ns; /* CLOCK_MONOTONIC */
    int32_t pid;
    int32_t tid;
    int32_t parent;
    int32_t result;
    uint64_t caller; /* return address, 0: none */
    uint64_t in[VGPU_RECORD_INPUTS];
    uint64_t out[VGPU_RECORD_OUTPUTS];
    char text[VGPU_RECORD_TEXT_SIZE];
};

struct vgpu_more {
    uint32_t state; /* VGPU_SLOT_MORE */
    uint32_t index;
    char text[VGPU_MORE_TEXT_SIZE];
};

#ifndef VGPU_CDEF
static_assert(sizeof(struct vgpu_record) == VGPU_SLOT_SIZE, "a record's head is one slot");
static_assert(sizeof(struct vgpu_more) == VGPU_SLOT_SIZE, "further text comes in whole slots");
static_assert(sizeof(struct vgpu_trace_header) <= VGPU_TRACE_HEADER_SIZE, "the header fits its page");
#endif

#endif
