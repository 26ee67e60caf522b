/* The escape probe: ways in which a program can look at a virtual GPU, each tried in a process of its own. A probe says
 * two things: did the program see the virtual GPU at all, and was what it saw right: the names and the metadata that a
 * machine with this GPU has. Only public ABI is used: libc, and system calls by number. */
#ifndef ESCAPE_PROBE_H
#define ESCAPE_PROBE_H

#include <limits.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

enum {
    ESCAPE_TEXT = 240,
    ESCAPE_BYTES = 8192, /* what a probe reads of a file, a directory or a child at most */
};

struct probe {
    const char *name; /* of the way, as the table shows it */
    void (*run)(const char *function);
    const char *function; /* the libc function that `run` is to try, where it tries more than one */
};

/* Ends a group of probes. */
#define NO_PROBE {NULL, NULL, NULL}

/* What is looked at. All paths have the root in front. */
struct target {
    char root[PATH_MAX];     /* directory that stands for `/`; "" on the simulated host */
    char sys[PATH_MAX];      /* /sys */
    char buses[PATH_MAX];    /* /sys/bus */
    char drivers[PATH_MAX];  /* /sys/bus/pci/drivers: entries of the machine and one of the simulated host */
    char driver[PATH_MAX];   /* /sys/bus/pci/drivers/nvidia: a directory of the simulated host alone */
    char bound[PATH_MAX];    /* the link in it that leads to the GPU */
    char gpu[PATH_MAX];      /* /sys/bus/pci/devices/ADDRESS, a link */
    char home[PATH_MAX];     /* where it leads: /sys/devices/pciDDDD:BB/ADDRESS */
    char vendor[PATH_MAX];   /* the file `vendor` by way of the link */
    char device[PATH_MAX];   /* a character device */
    char link[PATH_MAX];     /* text of the link `bound` */
    const char *address;     /* of the GPU: DDDD:BB:DD.F */
    const char *vendor_text; /* what the file holds, without its end of line */
    dev_t number;            /* of the device */
    off_t size;              /* st_size of the file */
};

extern struct target at;

/* Notes whether the GPU was seen; the text says what was seen instead. Answers the condition. */
int see(int condition, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Notes that something about what was seen is not right, unless the condition holds. Answers the condition. */
int expect(int condition, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The machine has no such function or system call: ends the probe. */
void unavailable(const char *what) __attribute__((noreturn));

/* `result` is that of a call that older kernels lack, and that containers forbid: ends the probe if so. */
long need(const char *what, long result);

/* A function by its name, from the program's global scope. Ends the probe where libc has none. */
void *find(const char *function);

/* The text is the vendor's. */
void check_text(const char *text, ssize_t length);

/* The descriptor reads the vendor, and is that of a regular, read-only file. Closes it. */
void check_file(int fd);

/* These are of the device; `returned` is the call's. */
void check_device(int returned, mode_t mode, dev_t number);
void check_device_stat(int returned, const struct stat *facts);

/* `answer` is the path where `wanted` really is; NULL: the call failed. */
void check_path(const char *answer, const char *wanted);

/* `path` + `name` in `to`, of PATH_MAX bytes. */
void join(char *to, const char *path, const char *name);

/* Path of a file that is installed with the probe program: in `escape/` beside it. */
void companion(char *to, const char *name);

/* The groups. */
extern const struct probe opens[], streams[], stats[], names[], lists[], walks[], file_systems[], spellings[],
    loaders[], raw_calls[], rings[], processes[], programs[], descriptors[], places[];

/* noplt.c: a call without a PLT entry. */
int open_without_plt(const char *path);

#endif
