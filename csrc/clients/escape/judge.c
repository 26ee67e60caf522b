/* What probes say, and what they look at. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ollama/raw.h"

#include "escape/judge.h"

struct target at;
struct answer *answer;

/* The first thing that is said stays: what follows from it is of less use. */
static void say(const char *format, va_list values) {
    if (answer->text[0] == '\0') {
        vsnprintf(answer->text, sizeof(answer->text), format, values);
    }
}

int see(int condition, const char *format, ...) {
    va_list values;
    va_start(values, format);
    if (condition) {
        answer->seen = 1;
    } else {
        say(format, values);
    }
    va_end(values);
    return condition;
}

int expect(int condition, const char *format, ...) {
    va_list values;
    va_start(values, format);
    if (!condition) {
        answer->wrong = 1;
        say(format, values);
    }
    va_end(values);
    return condition;
}

void unavailable(const char *what) {
    answer->unavailable = 1;
    snprintf(answer->text, sizeof(answer->text), "%s: %s", what, errno == 0 ? "not in this libc" : strerror(errno));
    _exit(0);
}

long need(const char *what, long result) {
    if (result < 0 && (errno == ENOSYS || errno == EPERM)) {
        unavailable(what);
    }
    return result;
}

void *find(const char *function) {
    void *found = dlsym(RTLD_DEFAULT, function);
    if (found == NULL) {
        errno = 0;
        unavailable(function);
    }
    return found;
}

void check_text(const char *text, ssize_t length) {
    size_t wanted = strlen(at.vendor_text);
    if (!see(length >= 0, "%m")) {
        return;
    }
    int same = (size_t)length >= wanted && memcmp(text, at.vendor_text, wanted) == 0;
    int shown = length < 40 ? (int)length : 40;
    while (shown > 0 && text[shown - 1] == '\n') {
        shown--;
    }
    answer->seen = 0;
    see(same, "the text is %.*s", shown, text);
    expect((size_t)length == wanted + 1 && text[length - 1] == '\n', "%zd bytes, not one line", length);
}

void check_file(int fd) {
    char text[ESCAPE_BYTES];
    if (!see(fd >= 0, "%m")) {
        return;
    }
    check_text(text, read(fd, text, sizeof(text)));
    struct stat facts;
    long returned = raw_call(SYS_fstat, fd, (long)&facts, 0, 0);
    expect(returned == 0 && facts.st_mode == (S_IFREG | 0444), "its mode is %o", facts.st_mode);
    close(fd);
}

void check_device(int returned, mode_t mode, dev_t number) {
    if (see(returned == 0, "%m")) {
        expect(S_ISCHR(mode), "its mode is %o: no character device", mode);
        expect(number == at.number, "its number is %u:%u", major(number), minor(number));
    }
}

void check_device_stat(int returned, const struct stat *facts) {
    check_device(returned, facts->st_mode, facts->st_rdev);
}

void check_path(const char *path, const char *wanted) {
    if (see(path != NULL, "%m")) {
        const char *name = strrchr(wanted, '/');
        size_t length = strlen(path), ending = strlen(name);
        answer->seen = 0;
        see(length >= ending && strcmp(path + length - ending, name) == 0, "the path is %s", path);
        expect(strcmp(path, wanted) == 0, "the path is %s", path);
    }
}

void join(char *to, const char *path, const char *name) {
    if (snprintf(to, PATH_MAX, "%s%s", path, name) >= PATH_MAX) {
        fprintf(stderr, "vgpu-escape: the path %s is too long\n", path);
        exit(2);
    }
}

void companion(char *to, const char *name) {
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[length < 0 ? 0 : length] = '\0';
    char *end = strrchr(program, '/');
    if (end != NULL) {
        *end = '\0';
    }
    join(to, program, "/escape/");
    join(program, to, name);
    memcpy(to, program, PATH_MAX);
}

void aim(const char *root, const char *address, const char *vendor) {
    char bus[16];
    snprintf(bus, sizeof(bus), "%.7s", address);
    join(at.root, root, "");
    join(at.sys, root, "/sys");
    join(at.buses, root, "/sys/bus");
    join(at.drivers, root, "/sys/bus/pci/drivers");
    join(at.driver, at.drivers, "/nvidia");
    join(at.bound, at.driver, "/");
    strncat(at.bound, address, sizeof(at.bound) - strlen(at.bound) - 1);
    join(at.gpu, root, "/sys/bus/pci/devices/");
    strncat(at.gpu, address, sizeof(at.gpu) - strlen(at.gpu) - 1);
    join(at.vendor, at.gpu, "/vendor");
    snprintf(at.link, sizeof(at.link), "../../../../devices/pci%s/%s", bus, address);
    join(at.home, at.sys, at.link + strlen("../../../.."));
    at.address = address;
    at.vendor_text = vendor;
}
