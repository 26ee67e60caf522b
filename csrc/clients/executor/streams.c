/* Memory files in place of pipes: nobody has to read while an example runs, and what a dead one wrote is there. */
#include "executor/streams.h"

#include <linux/memfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ollama/raw.h"

enum { STREAM_LIMIT = 16 << 20 }; /* more is answered with SIGXFSZ: an endless loop must not eat all memory */

int streams_collect(void) {
    int before = (int)raw_call(SYS_fcntl, STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1, 0);
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        int file = (int)raw_call(SYS_memfd_create, (long)(fd == STDOUT_FILENO ? "stdout" : "stderr"), 0, 0, 0);
        if (file < 0 || raw_call(SYS_dup2, file, fd, 0, 0) < 0 ||
            raw_call(SYS_fcntl, fd, F_SETFL, O_RDWR | O_APPEND, 0) < 0) {
            return -1;
        }
        raw_close(file);
    }
    struct rlimit limit = {STREAM_LIMIT, STREAM_LIMIT};
    return setrlimit(RLIMIT_FSIZE, &limit) == 0 ? before : -1;
}

void stream_empty(int fd, struct stream *stream) {
    struct stat facts;
    stream->bytes = stream->kept = 0;
    if (raw_call(SYS_fstat, fd, (long)&facts, 0, 0) == 0 && facts.st_size > 0) {
        long got = raw_call(SYS_pread64, fd, (long)stream->text, sizeof(stream->text), 0);
        stream->bytes = (uint32_t)facts.st_size;
        stream->kept = got > 0 ? (uint32_t)got : 0;
        raw_call(SYS_ftruncate, fd, 0, 0, 0);
    }
    /* The flags are the file's, and an example may have set others. With O_APPEND no offset matters. */
    raw_call(SYS_fcntl, fd, F_SETFL, O_RDWR | O_APPEND, 0);
}
