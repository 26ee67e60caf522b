/* One look at the GPU: by CUDA, by NVML and by files, and how it is told. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int cuInit(unsigned int flags);
int cuDeviceGetCount(int *count);
int nvmlInit_v2(void);
int nvmlDeviceGetCount_v2(unsigned int *count);

#define GPU_FILE "/sys/bus/pci/devices/0000:00:05.0/device"
#define GPU_DEVICE "/dev/nvidia0"

struct look {
    int cuda, devices_answer, devices;
    int nvml, boards_answer;
    unsigned int boards;
    int opened, accessed, device, own;
    char text[8];
    int error; /* errno behind all of it, which nothing here may have changed */
};

enum { LOOK_ERRNO = 77 };

/* Neither allocates nor formats: it may be done in a signal handler. */
static inline void look(struct look *seen) {
    struct stat facts;
    *seen = (struct look){.devices = -1, .boards = 99};
    errno = LOOK_ERRNO;
    seen->cuda = cuInit(0);
    seen->devices_answer = cuDeviceGetCount(&seen->devices);
    seen->nvml = nvmlInit_v2();
    seen->boards_answer = nvmlDeviceGetCount_v2(&seen->boards);
    seen->error = errno;
    int fd = open(GPU_FILE, O_RDONLY);
    seen->opened = fd >= 0 && read(fd, seen->text, 6) == 6;
    if (fd >= 0) {
        close(fd);
    }
    seen->accessed = access(GPU_FILE, R_OK) == 0;
    seen->device = stat(GPU_DEVICE, &facts) == 0 && S_ISCHR(facts.st_mode);
    fd = open("/etc/passwd", O_RDONLY); /* no business of the file shim: the real function's */
    seen->own = fd >= 0 && stat("/etc/passwd", &facts) == 0;
    if (fd >= 0) {
        close(fd);
    }
}

static inline void tell(const char *where, const struct look *seen) {
    char line[256];
    int length =
        snprintf(line, sizeof(line), "%s: cuda %d %d %d nvml %d %d %u file %d %s access %d device %d own %d errno %d\n",
                 where, seen->cuda, seen->devices_answer, seen->devices, seen->nvml, seen->boards_answer, seen->boards,
                 seen->opened, seen->text, seen->accessed, seen->device, seen->own, seen->error);
    if (write(1, line, (size_t)length) != length) {
        _exit(90);
    }
}

static inline void look_and_tell(const char *where) {
    struct look seen;
    look(&seen);
    tell(where, &seen);
}
