/* The facts of a process, from /proc. Raw system calls and the caller's memory only: a signal handler and a vfork child
 * may do this. */
#include <fcntl.h>
#include <sys/auxv.h>

#include "vgpu/gate.h"
#include "vgpu/raw.h"

enum {
    PLACE_SIZE = 64,
    STAT_SIZE = 512, /* of proc(5) stat; the two fields that are wanted end before byte 100 */
};

/* "/proc/self/NAME", or "/proc/PID/NAME". */
static void place(char *path, int32_t pid, const char *name) {
    char digits[16];
    char *start = digits + sizeof(digits) - 1;
    *start = '\0';
    for (uint32_t left = (uint32_t)pid; left != 0; left /= 10) {
        *--start = (char)('0' + left % 10);
    }
    vgpu_copy_text(path, PLACE_SIZE, "/proc/");
    size_t length = vgpu_length(path);
    vgpu_copy_text(path + length, PLACE_SIZE - length, pid != 0 ? start : "self");
    length += vgpu_length(path + length);
    vgpu_copy_text(path + length, PLACE_SIZE - length, name);
}

/* Reads at most `size` - 1 bytes of the file, and puts a NUL behind them; answers how many. */
static size_t read_whole(int32_t pid, const char *name, char *buffer, size_t size) {
    char path[PLACE_SIZE];
    place(path, pid, name);
    size_t length = 0;
    long fd = vgpu_raw6(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd >= 0) {
        long got;
        do {
            got = vgpu_raw3(SYS_read, fd, (long)(buffer + length), (long)(size - 1 - length));
            length += got > 0 ? (size_t)got : 0;
        } while (got > 0 && length + 1 < size);
        vgpu_raw3(SYS_close, fd, 0, 0);
    }
    buffer[length] = '\0';
    return length;
}

static void read_comm(int32_t pid, char *comm) {
    char text[VGPU_COMM_SIZE + 1]; /* the name and a newline */
    size_t length = read_whole(pid, "/comm", text, sizeof(text));
    text[length > 0 ? length - 1 : 0] = '\0';
    vgpu_copy_text(comm, VGPU_COMM_SIZE, text);
}

/* The executable's path into `path`; 0: it cannot be read. */
static int read_path(int32_t pid, char *path, size_t size) {
    char link[PLACE_SIZE];
    place(link, pid, "/exe");
    long got = vgpu_raw3(SYS_readlink, (long)link, (long)path, (long)(size - 1));
    path[got > 0 ? got : 0] = '\0';
    /* The kernel marks a program whose file is gone, as after an update; it is still that program. */
    static const char gone[] = " (deleted)";
    const size_t mark = sizeof(gone) - 1;
    if (got > (long)mark && vgpu_same_text(path + got - mark, gone)) {
        path[(size_t)got - mark] = '\0';
    }
    return got > 0;
}

void vgpu_facts_gather_of(int32_t pid, struct vgpu_facts *facts) {
    facts->secure = 0;
    facts->comm[0] = '\0';
    facts->exe[0] = '\0';
    /* Not on the stack: a first call may come on a small signal stack. */
    if (!read_path(pid, facts->path, sizeof(facts->path))) {
        read_comm(pid, facts->comm);
        return;
    }
    const char *base = facts->path;
    for (const char *at = facts->path; *at != '\0'; at++) {
        if (*at == '/') {
            base = at + 1;
        }
    }
    vgpu_copy_text(facts->exe, sizeof(facts->exe), base);
}

void vgpu_facts_gather(struct vgpu_facts *facts) {
    vgpu_facts_gather_of(0, facts);
    /* What ld.so keeps of the auxiliary vector: a look into /proc costs a new process more than all else here. */
    facts->secure = getauxval(AT_SECURE) != 0;
}

/* The words of the command line behind the first. A word that the buffer has cut is none. */
static void read_arguments(int32_t pid, char *words, size_t size) {
    size_t length = read_whole(pid, "/cmdline", words, size - 1);
    if (length == size - 2) {
        while (length > 0 && words[length - 1] != '\0') {
            length--;
        }
    }
    size_t from = vgpu_length(words) + 1;
    size_t to = 0;
    for (; from < length; from++) {
        /* An empty word, which no rule can name, would end the list. */
        if (words[from] != '\0' || (to > 0 && words[to - 1] != '\0')) {
            words[to++] = words[from];
        }
    }
    words[to] = '\0';
    words[to + 1] = '\0';
}

/* The parent of a process, and its own comm into `comm`; 0: there is none, or it cannot be seen. A comm may have spaces
 * and parentheses: its end is the last one (proc(5)). `text` has room for STAT_SIZE bytes. */
static int32_t parent_of(int32_t pid, char *comm, char *text) {
    size_t length = read_whole(pid, "/stat", text, STAT_SIZE);
    size_t open = 0;
    while (open < length && text[open] != '(') {
        open++;
    }
    size_t end = length;
    while (end > open && text[end] != ')') {
        end--;
    }
    comm[0] = '\0';
    if (end == open) {
        return 0;
    }
    text[end] = '\0';
    vgpu_copy_text(comm, VGPU_COMM_SIZE, text + open + 1);
    int32_t parent = 0;
    /* ") S 4711 ": the state is one letter. */
    for (const char *at = text + end + 4; at < text + length && *at >= '0' && *at <= '9'; at++) {
        parent = parent * 10 + (*at - '0');
    }
    return parent;
}

static void read_ancestors(int32_t pid, char *names, size_t size, char *room) {
    char comm[VGPU_COMM_SIZE];
    size_t length = 0;
    for (int32_t at = parent_of(pid, comm, room); at > 0 && length + VGPU_COMM_SIZE < size;) {
        at = parent_of(at, comm, room);
        if (comm[0] != '\0') {
            vgpu_copy_text(names + length, VGPU_COMM_SIZE, comm);
            length += vgpu_length(comm) + 1;
        }
    }
    names[length] = '\0';
}

static int starts_with(const char *text, const char *start) {
    while (*start != '\0' && *start == *text) {
        start++;
        text++;
    }
    return *start == '\0';
}

void vgpu_facts_unit(char *text) {
    const char *found = NULL;
    for (const char *line = text; *line != '\0';) {
        const char *rest = line; /* behind the hierarchy's number */
        while (*rest != '\0' && *rest != '\n' && *rest != ':') {
            rest++;
        }
        if (starts_with(rest, ":name=systemd:")) {
            found = rest + sizeof(":name=systemd:") - 1;
        } else if (found == NULL && starts_with(rest, "::")) {
            found = rest + 2;
        }
        while (*rest != '\0' && *rest != '\n') {
            rest++;
        }
        line = rest + (*rest == '\n');
    }
    size_t length = 0;
    for (; found != NULL && found[length] != '\0' && found[length] != '\n'; length++) {
        text[length] = found[length];
    }
    text[length] = '\0';
}

void vgpu_facts_gather_more(const struct vgpu_image *image, int32_t pid, struct vgpu_facts *facts) {
    const uint32_t wanted = vgpu_gate_wants(image);
    if ((wanted & 1 << VGPU_RULE_COMM) != 0) {
        read_comm(pid, facts->comm);
    }
    if ((wanted & 1 << VGPU_RULE_ARGUMENT) != 0) {
        read_arguments(pid, facts->arguments, sizeof(facts->arguments));
    }
    if ((wanted & 1 << VGPU_RULE_ANCESTOR) != 0) {
        /* The unit comes after this: its room serves for the way there, as a signal stack may have little. */
        read_ancestors(pid, facts->ancestors, sizeof(facts->ancestors), facts->unit);
        facts->unit[0] = '\0';
    }
    if ((wanted & 1 << VGPU_RULE_UNIT) != 0) {
        read_whole(pid, "/cgroup", facts->unit, sizeof(facts->unit));
        vgpu_facts_unit(facts->unit);
    }
}
