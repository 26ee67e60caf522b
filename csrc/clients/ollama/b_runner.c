/* runner/ollamarunner: the child that loads the backends and answers GET /info. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ollama/fault.h"
#include "ollama/gen_b.h"
#include "ollama/http.h"
#include "ollama/log.h"
#include "ollama/raw.h"

/* The runner writes an empty model for its backend to open. NULL, or the error's text; the caller frees it. */
static char *make_dummy_model(void) {
    /* magic, version 3, no tensors, no metadata */
    static const unsigned char model[24] = {'G', 'G', 'U', 'F', 3};
    const char *directory = getenv("TMPDIR");
    if (directory == NULL || *directory == '\0') {
        directory = "/tmp";
    }
    char *path = text_format("%s/%d%lld.bin", directory, (int)getpid(), (long long)(clock_now() % 1000000000));
    int fd = raw_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    long written = fd < 0 ? fd : raw_write(fd, model, sizeof model);
    char *error = NULL;
    if (written != (long)sizeof model) {
        error = text_format("failed to initialize backend: open %s: %s\n", path,
                            strerror(written < 0 ? (int)-written : ENOSPC));
    }
    if (fd >= 0) {
        raw_close(fd);
        raw_call(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0);
    }
    free(path);
    return error;
}

static void answer_info(int connection) {
    struct devices devices = {0};
    char *error = make_dummy_model();
    if (error != NULL) {
        http_answer(connection, 500, "text/plain; charset=utf-8", error);
        free(error);
        return;
    }
    b_backend_devices(&devices);
    char *body = b_devices_write(&devices);
    http_answer(connection, 200, "application/json", body);
    free(body);
    devices_free(&devices);
}

int b_runner(int port) {
    char path[64];
    log_line(LOG_INFO, "runner.go:1429", "starting ollama engine", NULL);
    fault_catch();
    int listener = http_listen(port);
    if (listener < 0) {
        log_line(LOG_ERROR, "runner.go:1459", "Listen error", "error", strerror(errno), NULL);
        return 1;
    }
    char *message = text_format("Server listening on 127.0.0.1:%d", port);
    log_line(LOG_INFO, "runner.go:1464", message, NULL);
    free(message);
    for (;;) {
        int connection = http_accept(listener, path, sizeof path);
        if (connection < 0) {
            if (errno == EINTR || errno == ECONNABORTED) {
                continue;
            }
            return 1;
        }
        if (strcmp(path, "/info") == 0) {
            answer_info(connection);
        } else {
            http_answer(connection, 404, "text/plain; charset=utf-8", "404 page not found\n");
        }
    }
}
