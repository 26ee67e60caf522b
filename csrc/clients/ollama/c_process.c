/* os/exec: a child whose output is read while it runs, and which is killed when enough was read or the time is up. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "ollama/gen_c.h"
#include "ollama/raw.h"

enum { TICK_MS = 20, CHUNK = 65536 };

void c_text_add(struct c_text *text, const char *bytes, size_t size) {
    text->items = realloc(text->items, text->size + size + 1);
    if (text->items == NULL) {
        abort();
    }
    memcpy(text->items + text->size, bytes, size);
    text->size += size;
    text->items[text->size] = '\0';
}

void c_text_append(struct c_text *text, const struct c_text *more) {
    if (more->size > 0) {
        c_text_add(text, more->items, more->size);
    }
}

struct stream {
    int fd; /* -1: at its end */
    struct c_text *text;
};

static void end_stream(struct stream *stream) {
    if (stream->fd >= 0) {
        raw_close(stream->fd);
        stream->fd = -1;
    }
}

static void read_stream(struct stream *stream) {
    char *chunk = malloc(CHUNK);
    if (chunk == NULL) {
        abort();
    }
    long got = raw_read(stream->fd, chunk, CHUNK);
    if (got > 0) {
        c_text_add(stream->text, chunk, (size_t)got);
    } else if (got != -EINTR) {
        end_stream(stream);
    }
    free(chunk);
}

/* Reads what is there, for a tick at most. */
static void read_streams(struct stream streams[2], int64_t left) {
    struct pollfd wanted[2] = {{streams[0].fd, POLLIN, 0}, {streams[1].fd, POLLIN, 0}};
    int all_ended = streams[0].fd < 0 && streams[1].fd < 0;
    int tick = all_ended ? 1 : TICK_MS;
    if (poll(wanted, 2, left / 1000000 < tick ? (int)(left / 1000000) + 1 : tick) <= 0) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        if (streams[i].fd >= 0 && wanted[i].revents != 0) {
            read_stream(&streams[i]);
        }
    }
}

static enum c_end follow(const struct c_process *process, int64_t deadline, struct child *child,
                         struct stream streams[2]) {
    enum c_end end = C_EXITED;
    int64_t limit = deadline;
    for (;;) {
        int64_t now = clock_now();
        if (now >= limit) {
            if (!child->exited) {
                spawn_kill(child);
                end = C_LATE;
            }
            return end;
        }
        int running = !child->exited;
        read_streams(streams, limit - now);
        if (spawn_has_exited(child) && running) {
            limit = clock_now() + process->grace;
        }
        if (process->is_enough != NULL && !child->exited &&
            (process->is_enough(process->context, process->err) || streams[1].fd < 0)) {
            spawn_kill(child);
            limit = clock_now() + process->grace;
            end = C_STOPPED;
        }
        if (child->exited && streams[0].fd < 0 && streams[1].fd < 0) {
            return end;
        }
    }
}

static int make_pipe(int ends[2]) {
    return (int)raw_call(SYS_pipe2, (long)ends, O_CLOEXEC, 0, 0);
}

enum c_end c_process_run(const struct c_process *process, int64_t deadline, struct child *child, int *error) {
    int out[2] = {-1, -1};
    int err[2] = {-1, -1};
    int combined = process->out == process->err;
    *error = -make_pipe(out);
    if (*error == 0 && !combined) {
        *error = -make_pipe(err);
    }
    if (*error == 0) {
        *error = spawn_start(child, process->program, process->argv, process->envp, out[1], combined ? out[1] : err[1]);
    }
    struct stream streams[2] = {{out[0], process->out}, {err[0], process->err}};
    for (int i = 0; i < 2; i++) {
        int write_end = i == 0 ? out[1] : err[1];
        if (write_end >= 0) {
            raw_close(write_end);
        }
    }
    enum c_end end = C_NOT_STARTED;
    if (*error == 0) {
        process->started(process, child->pid);
        end = follow(process, deadline, child, streams);
    }
    end_stream(&streams[0]);
    end_stream(&streams[1]);
    return end;
}
