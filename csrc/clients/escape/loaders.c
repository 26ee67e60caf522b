/* Ways to come to the function `open`: what the dynamic linker does, and what programs have it do. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "escape/probe.h"

typedef int open_function(const char *path, int flags, ...);

static open_function *const in_data = open; /* a relocation of data */

static void check_with(open_function *function) {
    if (function == NULL) {
        const char *why = dlerror();
        errno = 0;
        unavailable(why == NULL ? "open" : why);
    }
    check_file(function(at.vendor, O_RDONLY));
}

static void plt(const char *unused) {
    (void)unused;
    check_file(open(at.vendor, O_RDONLY));
}

static void no_plt(const char *unused) {
    (void)unused;
    check_file(open_without_plt(at.vendor));
}

static void pointer_in_data(const char *unused) {
    open_function *const volatile *where = &in_data;
    (void)unused;
    check_with(*where);
}

static void in_the_global_scope(const char *unused) {
    (void)unused;
    check_with((open_function *)dlsym(RTLD_DEFAULT, "open"));
}

static void in_the_next_object(const char *unused) {
    (void)unused;
    check_with((open_function *)dlsym(RTLD_NEXT, "open"));
}

static void in_the_program(const char *unused) {
    (void)unused;
    check_with((open_function *)dlsym(dlopen(NULL, RTLD_NOW), "open"));
}

static void in_libc(const char *unused) {
    (void)unused;
    check_with((open_function *)dlsym(dlopen("libc.so.6", RTLD_NOW), "open"));
}

static void of_a_version(const char *unused) {
    (void)unused;
    check_with((open_function *)dlvsym(RTLD_DEFAULT, "open", "GLIBC_2.2.5"));
}

static void of_a_version_in_libc(const char *unused) {
    (void)unused;
    check_with((open_function *)dlvsym(dlopen("libc.so.6", RTLD_NOW), "open", "GLIBC_2.2.5"));
}

static void in_a_new_namespace(const char *unused) {
    (void)unused;
    void *handle = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
    check_with(handle == NULL ? NULL : (open_function *)dlsym(handle, "open"));
}

static void *plugin(int flags) {
    char path[PATH_MAX];
    companion(path, "plugin.so");
    setenv("ESCAPE_PATH", at.vendor, 1);
    void *handle = dlopen(path, flags);
    if (handle == NULL) {
        const char *why = dlerror();
        errno = 0;
        unavailable(why);
    }
    return handle;
}

static void constructor(const char *unused) {
    (void)unused;
    void *handle = plugin(RTLD_NOW);
    errno = *(int *)dlsym(handle, "escape_early_error");
    check_file(*(int *)dlsym(handle, "escape_early"));
}

static void check_plugin(int flags) {
    int (*function)(const char *) = (int (*)(const char *))dlsym(plugin(flags), "escape_open");
    check_file(function(at.vendor));
}

static void local(const char *unused) {
    (void)unused;
    check_plugin(RTLD_LAZY | RTLD_LOCAL);
}

/* The library's own dependencies come before the global scope: libc before every preloaded library. */
static void deep(const char *unused) {
    (void)unused;
    check_plugin(RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
}

/* The same for what the linker does not report: a call without a PLT entry. */
static void deep_without_plt(const char *unused) {
    (void)unused;
    void *handle = plugin(RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    int (*function)(const char *) = (int (*)(const char *))dlsym(handle, "escape_open_without_plt");
    check_file(function(at.vendor));
}

/* A library in a new namespace, with a libc of its own. */
static void plugin_in_a_new_namespace(const char *unused) {
    char path[PATH_MAX];
    (void)unused;
    companion(path, "plugin.so");
    void *handle = dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
    int (*function)(const char *) = handle == NULL ? NULL : (int (*)(const char *))dlsym(handle, "escape_open");
    if (function == NULL) {
        errno = 0;
        unavailable("dlmopen");
    }
    check_file(function(at.vendor));
}

static void stat_in_libc(const char *unused) {
    struct stat facts = {0};
    (void)unused;
    int (*function)(const char *, struct stat *) =
        (int (*)(const char *, struct stat *))dlsym(dlopen("libc.so.6", RTLD_NOW), "stat");
    if (function == NULL) {
        errno = 0;
        unavailable("stat");
    }
    check_device_stat(function(at.device, &facts), &facts);
}

const struct probe loaders[] = {
    {"a call through the PLT", plt, NULL},
    {"a call without a PLT (-fno-plt)", no_plt, NULL},
    {"a pointer in the program's data", pointer_in_data, NULL},
    {"dlsym(RTLD_DEFAULT)", in_the_global_scope, NULL},
    {"dlsym(RTLD_NEXT)", in_the_next_object, NULL},
    {"dlsym of the program's own handle", in_the_program, NULL},
    {"dlsym of libc's handle", in_libc, NULL},
    {"dlsym of libc's handle: stat", stat_in_libc, NULL},
    {"dlvsym(RTLD_DEFAULT)", of_a_version, NULL},
    {"dlvsym of libc's handle", of_a_version_in_libc, NULL},
    {"dlmopen of libc", in_a_new_namespace, NULL},
    {"a library's constructor", constructor, NULL},
    {"a library opened RTLD_LOCAL", local, NULL},
    {"a library opened RTLD_DEEPBIND", deep, NULL},
    {"a library opened RTLD_DEEPBIND, a call without a PLT", deep_without_plt, NULL},
    {"a library in a namespace of its own", plugin_in_a_new_namespace, NULL},
    NO_PROBE,
};
