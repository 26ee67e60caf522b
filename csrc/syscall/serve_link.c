/* Links of the tree, and paths that come out of it. No text that a program sees names the tree: a link that stays in
 * the tree is relative, as the kernel's are, and what is absolute is turned into what the host calls it. */
#include <stdlib.h>
#include <string.h>

#include "syscall/files.h"
#include "vgpu/image.h"
#include "vgpu/raw.h"

/* What is left of `text` behind the directory `prefix`, or NULL if it is not below it. */
static const char *below(const char *text, const char *prefix, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (text[i] != prefix[i]) {
            return NULL;
        }
    }
    return text[length] == '\0' || text[length] == '/' ? text + length : NULL;
}

/* A text in two parts, so that none has to be put together on a signal handler's small stack. */
struct terms {
    const char *start;
    const char *rest;
};

/* `text`, which came out of the tree, as a program on the host knows it; what does not name the tree stays as it is. */
static struct terms host_terms(const struct vgpu_image *image, const char *text) {
    const struct vgpu_path *rows = (const struct vgpu_path *)((const char *)image + image->paths.offset);
    for (uint32_t i = 0; i < image->paths.count; i++) {
        const char *rest = below(text, vgpu_image_text(image, rows[i].target), rows[i].target_length);
        if (rest != NULL && (rows[i].kind == VGPU_PATH_TREE || *rest == '\0')) {
            return (struct terms){vgpu_image_text(image, rows[i].path), rest};
        }
    }
    const char *behind = vgpu_spelling_behind_root(image, text);
    if (behind != NULL) {
        return (struct terms){"", behind};
    }
    return (struct terms){"", text};
}

/* As the kernel does it: what does not fit is cut, there is no NUL at the end, and the bytes written are answered. */
static size_t put_terms(struct terms terms, char *to, size_t size) {
    size_t at = 0;
    for (const char *from = terms.start; *from != '\0' && at < size; from++) {
        to[at++] = *from;
    }
    for (const char *from = terms.rest; *from != '\0' && at < size; from++) {
        to[at++] = *from;
    }
    return at;
}

static long read_link(struct vgpu_file_call *call, char *to, size_t size) {
    if ((int)size <= 0) {
        return -EINVAL; /* the kernel takes an int */
    }
    if (vgpu_path_is_no_text(to)) {
        return -EFAULT;
    }
    /* The kernel has taken its copy of the path when it writes the link's text over it. */
    long got =
        vgpu_raw6(SYS_readlinkat, AT_FDCWD, (long)call->target, (long)call->target, sizeof(call->target) - 1, 0, 0);
    if (got < 0) {
        return got;
    }
    call->target[got] = '\0';
    return (long)put_terms(host_terms(call->process->image, call->target), to, size);
}

ssize_t vgpu_serve_readlink(struct vgpu_file_call *call, char *to, size_t size) {
    return vgpu_file_end(call, call->error != 0 ? -call->error : read_link(call, to, size));
}

/* What does not fit has been cut, and may name the tree without saying so: then it is read once more. */
ssize_t vgpu_real_link(struct vgpu_file_call *call, int at, const char *path, char *to, ssize_t length, size_t size) {
    const struct vgpu_image *image = vgpu_file_image(vgpu_file_self());
    if (length <= 0 || image == NULL || to[0] != '/') {
        return length;
    }
    char *text = call->target;
    long got = length;
    if ((size_t)length < size && (size_t)length < sizeof(call->target)) {
        memcpy(text, to, (size_t)length);
    } else {
        got = vgpu_raw6(SYS_readlinkat, at, (long)path, (long)text, sizeof(call->target) - 1, 0, 0);
    }
    if (got <= 0) {
        return length;
    }
    text[got] = '\0';
    struct terms terms = host_terms(image, text);
    if (terms.rest == text && terms.start[0] == '\0') {
        return length;
    }
    /* Behind the text nothing of the tree's name is left: who looks there has not kept the length. */
    size_t now = put_terms(terms, to, size);
    if (now < (size_t)length) {
        memset(to + now, 0, (size_t)length - now);
    }
    return (ssize_t)now;
}

char *vgpu_real_path(char *path) {
    const struct vgpu_image *image = vgpu_file_image(vgpu_file_self());
    const char *behind = path != NULL && image != NULL ? vgpu_spelling_behind_root(image, path) : NULL;
    if (behind != NULL) {
        memmove(path, behind, vgpu_length(behind) + 1);
    }
    return path;
}

static char *real_path(struct vgpu_file_call *call, char *to) {
    char found[PATH_MAX];
    if (VGPU_REAL(realpath)(call->target, found) == NULL) {
        return NULL;
    }
    struct terms terms = host_terms(call->process->image, found);
    size_t length = vgpu_length(terms.start) + vgpu_length(terms.rest);
    if (length >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    char *answer = to != NULL ? to : malloc(length + 1);
    if (answer != NULL) {
        answer[put_terms(terms, answer, length)] = '\0';
    }
    return answer;
}

char *vgpu_serve_realpath(struct vgpu_file_call *call, char *to) {
    errno = call->error;
    return vgpu_file_end_pointer(call, call->error == 0 ? real_path(call, to) : NULL);
}
