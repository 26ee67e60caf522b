#include "syscall/spelling.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>

#include "syscall/known.h"
#include "vgpu/image.h"
#include "vgpu/paths.h"
#include "vgpu/raw.h"

enum {
    SMALL = 768, /* of either buffer, on the stack; a longer path gets its buffers from the kernel */
    LINKS = 40,  /* MAXSYMLINKS of Linux */
};

/* A walk along a path. What is done stands in `host`, absolute and normal ("" is the root); what is left at the end of
 * `rest`, so that a link's text can be put before it. */
struct walk {
    const struct vgpu_image *image;
    char *host;
    char *rest;
    size_t host_size;
    size_t rest_size;
    size_t length; /* of host */
    size_t start;  /* of what is left in rest */
    int links;
    int inside;   /* 1: the kernel would have gone through the tree */
    int fleeting; /* 1: a link of /proc was followed, which may lead elsewhere the next time */
    int to_end;   /* 1: the last component is followed, too */
};

/* What a step answers besides enum vgpu_spelling. */
enum { STEP_DONE = 3, STEP_LINK = 4 };

/* The tree's root, at the start of a row's target, as far as this row tells: the tree is laid out as the host, so that
 * the path follows. 0: this row stands elsewhere. */
static size_t root_length(const char *target, size_t target_length, const char *path, size_t path_length) {
    if (target_length <= path_length || !vgpu_same_text(target + target_length - path_length, path)) {
        return 0;
    }
    return target_length - path_length;
}

const char *vgpu_spelling_behind_root(const struct vgpu_image *image, const char *text) {
    const struct vgpu_path *rows = (const struct vgpu_path *)((const char *)image + image->paths.offset);
    for (uint32_t i = 0; i < image->paths.count; i++) {
        const char *target = vgpu_image_text(image, rows[i].target);
        size_t n = 0;
        while (text[n] != '\0' && text[n] == target[n]) {
            n++;
        }
        size_t root =
            root_length(target, rows[i].target_length, vgpu_image_text(image, rows[i].path), rows[i].path_length);
        if (root == 0) {
            continue;
        }
        if (n >= root && (text[root] == '/' || text[root] == '\0')) {
            return text[root] == '/' ? text + root : "/";
        }
        return NULL; /* there is one tree */
    }
    return NULL;
}

/* The component at `at`: its length. */
static size_t component(const char *at) {
    size_t n = 0;
    while (at[n] != '/' && at[n] != '\0') {
        n++;
    }
    return n;
}

static int component_is(const char *at, const char *word) {
    while (*word != '\0' && *at == *word) {
        at++;
        word++;
    }
    return *word == '\0' && (*at == '/' || *at == '\0');
}

static const char *skip_slashes(const char *at) {
    while (*at == '/') {
        at++;
    }
    return at;
}

/* What is to be known of a path before anything else: does it have a `..`, and where does its directory end? */
struct outline {
    int parents;
    size_t directory; /* 0: there is none, or it is the root */
};

static struct outline outline_of(const char *path) {
    struct outline outline = {0, 0};
    for (size_t i = 0; path[i] != '\0'; i++) {
        if (path[i] == '/') {
            outline.directory = i;
        } else if (path[i] == '.' && path[i + 1] == '.' && (path[i + 2] == '/' || path[i + 2] == '\0') &&
                   (i == 0 || path[i - 1] == '/')) {
            outline.parents = 1;
        }
    }
    return outline;
}

static int has_parent(const char *path) {
    return outline_of(path).parents;
}

/* Below /proc: links that lead elsewhere without saying so, /proc/self/{root,cwd,fd/N}/..., task/N/ before them too. */
static int has_magic(const char *path) {
    for (; *path != '\0'; path = skip_slashes(path + component(path))) {
        if (component_is(path, "root") || component_is(path, "cwd") || component_is(path, "fd")) {
            return *skip_slashes(path + component(path)) != '\0';
        }
    }
    return 0;
}

static int is_magic(const char *path) {
    path = skip_slashes(path);
    return component_is(path, "proc") && has_magic(path);
}

static int starts_with(const char *text, const char *directory) {
    size_t n = vgpu_length(directory);
    return __builtin_strncmp(text, directory, n) == 0 && (text[n] == '/' || text[n] == '\0');
}

/* In /proc/<another process>: its root may be another one, its working directory says nothing of ours. */
static int is_of_another(const char *host) {
    if (!starts_with(host, "/proc") || host[5] == '\0' || host[6] < '0' || host[6] > '9') {
        return 0;
    }
    long number = 0;
    const char *at = host + 6;
    for (; *at >= '0' && *at <= '9' && number <= INT_MAX; at++) {
        number = number * 10 + (*at - '0');
    }
    return *at == '/' && number != vgpu_raw3(SYS_getpid, 0, 0, 0);
}

static void drop_last(struct walk *walk) {
    while (walk->length > 0 && walk->host[--walk->length] != '/') {
    }
    walk->host[walk->length] = '\0';
}

/* Adds "/" and `length` bytes to what is done. */
static int add(struct walk *walk, const char *text, size_t length) {
    if (walk->length + 1 + length >= walk->host_size) {
        return 0;
    }
    walk->host[walk->length++] = '/';
    __builtin_memcpy(walk->host + walk->length, text, length);
    walk->length += length;
    walk->host[walk->length] = '\0';
    return 1;
}

/* If what is done is a link, its text is put before what is left. */
static int follow(struct walk *walk) {
    const struct vgpu_path *entry;
    size_t gap = walk->start;
    const char *at = walk->host;
    int found = vgpu_path_find(walk->image, walk->host, walk->rest, gap, &entry);
    if (found < 0) {
        return VGPU_SPELLING_NO_ROOM;
    }
    if (found > 0) {
        if (entry->kind == VGPU_PATH_EXACT) {
            return STEP_DONE;
        }
        walk->inside = 1;
        at = walk->rest;
    } else if (is_of_another(walk->host)) {
        return VGPU_SPELLING_REAL;
    } else if (vgpu_known_has(walk->host, walk->length, VGPU_KNOWN_NO_LINK)) {
        return STEP_DONE;
    }
    long got = vgpu_raw6(SYS_readlinkat, AT_FDCWD, (long)at, (long)walk->rest, (long)gap, 0, 0);
    if (got == -EINVAL) {
        if (found == 0 && !starts_with(walk->host, "/proc")) {
            vgpu_known_add(walk->host, walk->length, VGPU_KNOWN_NO_LINK);
        }
        return STEP_DONE;
    }
    if (got < 0) {
        return found > 0 ? STEP_DONE : VGPU_SPELLING_REAL;
    }
    if ((size_t)got >= gap) {
        return VGPU_SPELLING_NO_ROOM;
    }
    if (++walk->links > LINKS) {
        return VGPU_SPELLING_REAL;
    }
    walk->rest[got] = '\0';
    walk->fleeting |= starts_with(walk->host, "/proc");
    const char *text = walk->rest;
    if (text[0] == '/') {
        const char *behind = vgpu_spelling_behind_root(walk->image, text);
        walk->inside |= behind != NULL;
        text = behind != NULL ? behind : text;
        walk->length = 0;
        walk->host[0] = '\0';
    } else {
        drop_last(walk);
    }
    size_t length = vgpu_length(text);
    walk->start -= length;
    __builtin_memmove(walk->rest + walk->start, text, length);
    return STEP_LINK;
}

/* The last component, if that is followed, too. Of the tree's own links the kernel does it. */
static int last_step(struct walk *walk, int *parents) {
    int answer = vgpu_path_find(walk->image, walk->host, NULL, 0, NULL) != 0 ? STEP_DONE : follow(walk);
    if (answer == STEP_LINK) {
        *parents = has_parent(walk->rest + walk->start);
    }
    return answer == STEP_DONE ? VGPU_SPELLING_TREE : answer;
}

/* One component of what is left. */
static int step(struct walk *walk, int *parents) {
    const char *at = skip_slashes(walk->rest + walk->start);
    size_t length = component(at);
    walk->start = (size_t)(at + length - walk->rest);
    if (length == 0) {
        return VGPU_SPELLING_TREE;
    }
    if (component_is(at, ".")) {
        return STEP_DONE;
    }
    if (component_is(at, "..")) {
        const struct vgpu_path *entry;
        walk->inside |= vgpu_path_find(walk->image, walk->host, NULL, 0, &entry) != 0 && entry->kind == VGPU_PATH_TREE;
        drop_last(walk);
        *parents = has_parent(walk->rest + walk->start);
        return STEP_DONE;
    }
    if (!add(walk, at, length)) {
        return VGPU_SPELLING_NO_ROOM;
    }
    const char *left = skip_slashes(walk->rest + walk->start);
    if (walk->rest[walk->start] == '\0') {
        return walk->to_end ? last_step(walk, parents) : VGPU_SPELLING_TREE;
    }
    /* Links inside of sysfs are not followed: a real device that stands where the GPU is has its own things there. */
    if (!*parents && starts_with(walk->host, "/sys")) {
        return add(walk, left, vgpu_length(left)) ? VGPU_SPELLING_TREE : VGPU_SPELLING_NO_ROOM;
    }
    int answer = follow(walk);
    if (answer == STEP_LINK) {
        *parents = has_parent(walk->rest + walk->start);
    }
    return answer;
}

/* The host's name of the directory that a relative path starts from. */
static int start_from(struct walk *walk, int directory) {
    long got;
    if (directory == AT_FDCWD) {
        got = vgpu_raw3(SYS_getcwd, (long)walk->host, (long)walk->host_size, 0) - 1;
        if (got == -ERANGE - 1) {
            return VGPU_SPELLING_NO_ROOM;
        }
    } else {
        char name[] = "/proc/self/fd/2147483647";
        char *at = name + sizeof("/proc/self/fd/") - 1;
        int digits = 1;
        for (int left = directory; left >= 10; left /= 10) {
            digits++;
        }
        at[digits] = '\0';
        for (int left = directory; digits > 0; left /= 10) {
            at[--digits] = (char)('0' + left % 10);
        }
        got = directory < 0
                  ? -EBADF
                  : vgpu_raw6(SYS_readlinkat, AT_FDCWD, (long)name, (long)walk->host, (long)walk->host_size, 0, 0);
        if (got >= 0 && (size_t)got >= walk->host_size) {
            return VGPU_SPELLING_NO_ROOM;
        }
    }
    if (got <= 0 || walk->host[0] != '/') {
        return VGPU_SPELLING_REAL;
    }
    walk->host[got] = '\0';
    const char *behind = vgpu_spelling_behind_root(walk->image, walk->host);
    if (behind != NULL) {
        walk->inside = 1;
        got = (long)vgpu_length(behind);
        __builtin_memmove(walk->host, behind, (size_t)got + 1);
    }
    walk->length = got == 1 ? 0 : (size_t)got;
    walk->host[walk->length] = '\0';
    return STEP_DONE;
}

/* Walks all of `path`. VGPU_SPELLING_TREE: it is in `host`. */
static int walk_all(struct walk *walk, int directory, const char *path) {
    size_t length = vgpu_length(path);
    int parents = has_parent(path);
    walk->length = 0;
    walk->links = 0;
    walk->inside = 0;
    walk->fleeting = 0;
    if (length + 2 > walk->rest_size) {
        return VGPU_SPELLING_NO_ROOM;
    }
    walk->start = walk->rest_size - length - 1;
    __builtin_memcpy(walk->rest + walk->start, path, length + 1);
    walk->host[0] = '\0';
    int answer = path[0] == '/' ? STEP_DONE : start_from(walk, directory);
    while (answer == STEP_DONE || answer == STEP_LINK) {
        answer = step(walk, &parents);
    }
    return answer;
}

void vgpu_near_note_bits(uint32_t bits) {
    if ((__atomic_load_n(&vgpu_filter.near, __ATOMIC_RELAXED) & bits) != bits) {
        __atomic_fetch_or(&vgpu_filter.near, bits, __ATOMIC_RELAXED);
    }
}

/* One question about a path, and where the answer goes. */
struct question {
    const struct vgpu_image *image;
    int directory;
    const char *path;
    char *out;
    size_t size;
    const struct vgpu_path **entry;
    int to_end; /* `out` is for the host's path, then */
};

/* Walks, and says where that has led to. NO_ROOM: these buffers are too small. */
static enum vgpu_spelling arrive(struct walk *walk, const struct question *asked) {
    int answer = walk_all(walk, asked->directory, asked->path);
    if (answer == VGPU_SPELLING_NO_ROOM) {
        return VGPU_SPELLING_NO_ROOM;
    }
    if (answer == VGPU_SPELLING_TREE) {
        const char *host = walk->length == 0 ? "/" : walk->host;
        int found = vgpu_path_find(walk->image, host, asked->to_end ? NULL : asked->out, asked->size, asked->entry);
        if (found > 0 && asked->to_end && asked->out != NULL) {
            vgpu_copy_text(asked->out, asked->size, host);
        }
        if (found != 0) {
            return found > 0 ? VGPU_SPELLING_TREE : VGPU_SPELLING_NO_ROOM;
        }
        if (vgpu_path_leads_to(walk->image, host)) {
            vgpu_near_note_bits(VGPU_NEAR_ABOVE);
        }
        if (walk->inside) {
            if (asked->out != NULL) {
                vgpu_copy_text(asked->out, asked->size, host);
            }
            return VGPU_SPELLING_LEFT;
        }
    }
    struct outline outline = outline_of(asked->path);
    if (!walk->fleeting && !outline.parents && (asked->path[0] == '/' || asked->directory == AT_FDCWD)) {
        vgpu_known_add(asked->path, outline.directory, VGPU_KNOWN_OUTSIDE);
    }
    return VGPU_SPELLING_REAL;
}

static __attribute__((noinline)) enum vgpu_spelling find_long(const struct question *asked) {
    enum { HOST = 2 * PATH_MAX, REST = 4 * PATH_MAX };
    long memory = vgpu_raw6(SYS_mmap, 0, HOST + REST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0) {
        return VGPU_SPELLING_REAL;
    }
    struct walk walk = {.image = asked->image,
                        .to_end = asked->to_end,
                        .host = (char *)memory,
                        .host_size = HOST,
                        .rest = (char *)memory + HOST,
                        .rest_size = REST};
    enum vgpu_spelling answer = arrive(&walk, asked);
    vgpu_raw3(SYS_munmap, memory, HOST + REST, 0);
    return answer;
}

static __attribute__((noinline)) enum vgpu_spelling find_odd(const struct question *asked) {
    char host[SMALL];
    char rest[SMALL];
    struct walk walk = {.image = asked->image,
                        .to_end = asked->to_end,
                        .host = host,
                        .host_size = SMALL,
                        .rest = rest,
                        .rest_size = SMALL};
    enum vgpu_spelling answer = arrive(&walk, asked);
    return answer == VGPU_SPELLING_NO_ROOM ? find_long(asked) : answer;
}

/* Is the first component of a relative path the name of something on the way to a row? */
static int may_enter(const struct vgpu_image *image, const char *path) {
    const struct vgpu_path *rows = (const struct vgpu_path *)((const char *)image + image->paths.offset);
    while (path[0] == '/' || (path[0] == '.' && path[1] == '/')) {
        path++;
    }
    size_t length = component(path);
    if (has_magic(path)) {
        return 1; /* the directory may be /proc */
    }
    for (uint32_t i = 0; i < image->paths.count; i++) {
        const char *at = skip_slashes(vgpu_image_text(image, rows[i].path));
        for (; *at != '\0'; at = skip_slashes(at + component(at))) {
            if (component(at) == length && __builtin_memcmp(at, path, length) == 0) {
                return 1;
            }
        }
    }
    return 0;
}

/* Can no link on the way of this absolute path lead into the tree? */
static int is_plain(const char *path, const struct outline *outline) {
    const char *first = skip_slashes(path);
    return outline->directory == 0 || component_is(first, "sys") || (component_is(first, "proc") && !is_magic(path));
}

int vgpu_spelling_is_settled(const char *path) {
    struct outline outline = outline_of(path);
    return !outline.parents &&
           (is_plain(path, &outline) || vgpu_known_has(path, outline.directory, VGPU_KNOWN_OUTSIDE));
}

enum vgpu_spelling vgpu_spelling_find(const struct vgpu_image *image, int directory, const char *path, char *out,
                                      size_t size, const struct vgpu_path **entry) {
    if (image == NULL || path == NULL || path[0] == '\0') {
        return VGPU_SPELLING_REAL;
    }
    struct outline outline = outline_of(path);
    int parents = outline.parents;
    size_t length = outline.directory;
    if (path[0] == '/' && !parents) {
        int found = vgpu_path_find(image, path, out, size, entry);
        if (found != 0) {
            return found > 0 ? VGPU_SPELLING_TREE : VGPU_SPELLING_NO_ROOM;
        }
        if (is_plain(path, &outline)) {
            return VGPU_SPELLING_REAL;
        }
    }
    uint32_t near = __atomic_load_n(&vgpu_filter.near, __ATOMIC_RELAXED);
    int here = path[0] == '/' || directory == AT_FDCWD;
    if (!parents && (path[0] == '/' || ((near & VGPU_NEAR_TREE) == 0 && !(near != 0 && may_enter(image, path)))) &&
        (!here || length == 0 || vgpu_known_has(path, length, VGPU_KNOWN_OUTSIDE))) {
        return VGPU_SPELLING_REAL;
    }
    const struct question asked = {image, directory, path, out, size, entry, 0};
    return find_odd(&asked);
}

int vgpu_spelling_follow(const struct vgpu_image *image, int directory, const char *path, char *host, size_t size) {
    const struct question asked = {image, directory, path, host, size, NULL, 1};
    return image != NULL && path[0] != '\0' && find_odd(&asked) == VGPU_SPELLING_TREE;
}

void vgpu_near_note(const struct vgpu_image *image, const char *path) {
    if (vgpu_spelling_behind_root(image, path) != NULL) {
        vgpu_near_note_bits(VGPU_NEAR_TREE);
    } else if (vgpu_path_leads_to(image, path)) {
        vgpu_near_note_bits(VGPU_NEAR_ABOVE);
    }
}

void vgpu_near_note_here(const struct vgpu_image *image) {
    char here[SMALL];
    long got = vgpu_raw3(SYS_getcwd, (long)here, sizeof(here), 0);
    if (got > 0) {
        vgpu_near_note(image, here);
    } else if (got == -ERANGE) {
        vgpu_near_note_bits(VGPU_NEAR_TREE | VGPU_NEAR_ABOVE);
    }
}
