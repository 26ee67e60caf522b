/* vgpu-executor FD: does sequences of calls of the CUDA driver and NVML, each in a process of its own, for the peer at
 * the socket FD; format.def has what is said there. It ends when the peer hangs up.
 *
 * Libraries are in it by LD_PRELOAD from its start, or come by dlopen of their sonames. The executor itself calls none
 * of their functions, nor libc's file functions, which a preloaded library may serve: in each forked process they find
 * the state of a program that has called nothing yet. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "executor/area.h"
#include "executor/check.h"
#include "executor/example.h"
#include "executor/streams.h"
#include "ollama/raw.h"

enum {
    ANSWER_BYTES = 65536, /* answers are sent when so many have come together, and at the end of a request */
};

struct area *area;
executor_function *functions[EXECUTOR_FUNCTIONS_MAX];

static uint32_t function_count;
static struct example_host host;
static int peer;
static int complaints; /* the stderr that the executor was started with */

static char answer[ANSWER_BYTES];
static size_t answered;

static const char table[] =
#define EXECUTOR_NUMBER(name, value) "number " #name " " #value "\n"
#include "executor/format.def"

#define EXECUTOR_RECORD(name) "record " #name
#define EXECUTOR_FIELD(type, name) " " #name ":" #type
#define EXECUTOR_END(name) "\n"
#include "executor/format.def"
    "\n";

void executor_refuse(const char *reason) {
    static const char name[] = "vgpu-executor: ";
    raw_write(complaints, name, sizeof(name) - 1);
    raw_write(complaints, reason, strlen(reason));
    raw_write(complaints, "\n", 1);
    example_abandon();
    _exit(2);
}

static void send_all(const char *bytes, size_t size) {
    while (size > 0) {
        long sent = raw_write(peer, bytes, size);
        if (sent <= 0) {
            example_abandon();
            _exit(0);
        }
        bytes += sent;
        size -= (size_t)sent;
    }
}

static void flush_answer(void) {
    send_all(answer, answered);
    answered = 0;
}

static void tell(const void *bytes, size_t size) {
    if (size > sizeof(answer) - answered) {
        flush_answer();
    }
    if (size > sizeof(answer)) {
        send_all(bytes, size);
        return;
    }
    memcpy(answer + answered, bytes, size);
    answered += size;
}

/* Answers 0 where the peer has hung up before the first byte. */
static int receive(void *into, size_t size) {
    for (size_t got = 0; got < size;) {
        long more = raw_read(peer, (char *)into + got, size - got);
        if (more <= 0) {
            return 0;
        }
        got += (size_t)more;
    }
    return 1;
}

static void *find_function(const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    if (found != NULL) {
        return found;
    }
    const char *soname = strncmp(name, "cu", 2) == 0     ? "libcuda.so.1"
                         : strncmp(name, "nvml", 4) == 0 ? "libnvidia-ml.so.1"
                                                         : NULL;
    void *library = soname != NULL ? dlopen(soname, RTLD_NOW) : NULL;
    return library != NULL ? dlsym(library, name) : NULL;
}

static void list_descriptors(void) {
    if (descriptors_start(&host.baseline) != 0) {
        executor_refuse("the limit of descriptors cannot be set, or poll is refused");
    }
    descriptors_forget(&host.baseline, host.close[0]);
    descriptors_forget(&host.baseline, host.close[1]);
}

/* The text at `*at`, which must end before `end`. */
static const char *next_text(const char **at, const char *end) {
    const char *text = *at;
    size_t length = strnlen(text, (size_t)(end - text));
    if (text + length == end) {
        executor_refuse("a text of the request does not end");
    }
    *at += length + 1;
    return text;
}

static void find_functions(const struct executor_request *request) {
    const char *at = (const char *)area->request;
    const char *end = at + request->size;
    static const char *paths[EXECUTOR_FUNCTIONS_MAX];
    struct executor_found found = {0};
    if (request->count > EXECUTOR_FUNCTIONS_MAX) {
        executor_refuse("more functions than FUNCTIONS_MAX");
    }
    for (uint32_t i = 0; i < request->count; i++) {
        void *function = find_function(next_text(&at, end));
        Dl_info facts = {0};
        paths[i] = function != NULL && dladdr(function, &facts) != 0 && facts.dli_fname != NULL ? facts.dli_fname : "";
        memcpy(&functions[i], &function, sizeof(function));
        found.size += (uint32_t)strlen(paths[i]) + 1;
    }
    function_count = request->count;
    list_descriptors();
    tell(&found, sizeof(found));
    for (uint32_t i = 0; i < request->count; i++) {
        tell(paths[i], strlen(paths[i]) + 1);
    }
}

static void set_variable(const struct executor_request *request) {
    const char *at = (const char *)area->request;
    const char *text = next_text(&at, at + request->size);
    const char *equals = strchr(text, '=');
    char name[256];
    if (equals == NULL || (size_t)(equals - text) >= sizeof(name)) {
        executor_refuse("a variable is not NAME=VALUE");
    }
    memcpy(name, text, (size_t)(equals - text));
    name[equals - text] = '\0';
    if (setenv(name, equals + 1, 1) != 0) {
        executor_refuse("a variable cannot be set");
    }
}

static void tell_outcome(const struct example_end *end) {
    static struct stream out;
    static struct stream err;
    stream_empty(STDOUT_FILENO, &out);
    stream_empty(STDERR_FILENO, &err);
    uint32_t used = area->used <= EXECUTOR_RESULT_BYTES ? area->used : 0;
    struct executor_outcome outcome = {
        .size = used + out.kept + err.kept,
        .ended = end->ended,
        .status = end->status,
        .call = area->call,
        .results = area->results,
        .descriptors = area->descriptors,
        .processes = end->processes,
        .out_bytes = out.bytes,
        .out_kept = out.kept,
        .err_bytes = err.bytes,
        .err_kept = err.kept,
    };
    tell(&outcome, sizeof(outcome));
    tell(area->result, used);
    tell(out.text, out.kept);
    tell(err.text, err.kept);
}

static void do_examples(const struct executor_request *request) {
    const unsigned char *at = area->request;
    const unsigned char *end = at + request->size;
    for (uint32_t i = 0; i < request->count; i++) {
        struct executor_example example;
        uint32_t offset = (uint32_t)(at - area->request);
        check_example(&at, end, function_count, &example);
        struct example_end how;
        example_run(&host, offset, &example, &how);
        tell_outcome(&how);
    }
    if (at != end) {
        executor_refuse("a request is longer than its examples");
    }
}

static void serve(void) {
    struct executor_request request;
    while (receive(&request, sizeof(request))) {
        if (request.size > EXECUTOR_REQUEST_BYTES) {
            executor_refuse("a request is longer than REQUEST_BYTES");
        }
        if (!receive(area->request, request.size)) {
            break;
        }
        switch (request.kind) {
        case EXECUTOR_REQUEST_FUNCTIONS:
            find_functions(&request);
            break;
        case EXECUTOR_REQUEST_VARIABLE:
            set_variable(&request);
            break;
        case EXECUTOR_REQUEST_EXAMPLES:
            do_examples(&request);
            break;
        default:
            executor_refuse("a request is of no kind");
        }
        flush_answer();
    }
}

int main(int argc, char **argv) {
    char *end = NULL;
    long fd = argc == 2 ? strtol(argv[1], &end, 10) : -1;
    if (fd <= STDERR_FILENO || *end != '\0') {
        fputs("usage: vgpu-executor FD, the number of an open socket above 2\n", stderr);
        return 2;
    }
    peer = (int)fd;
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    complaints = streams_collect();
    if (complaints < 0) {
        fputs("vgpu-executor: there is no memory file (memfd_create) for the streams of the examples\n", stderr);
        return 2;
    }
    host.close[0] = peer;
    host.close[1] = complaints;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &host.signals);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    area = mmap(NULL, sizeof(*area), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) {
        executor_refuse("there is no memory for the area");
    }
    /* The first use of malloc sets up its heap; each process would do that again. */
    void *volatile first = malloc(1);
    free(first);
    list_descriptors();
    send_all(table, sizeof(table) - 1);
    serve();
    example_abandon();
    return 0;
}
