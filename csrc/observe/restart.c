/* A signal breaks off a call that waits for its supervisor, as long as that has not taken it up. A handler without
 * SA_RESTART would then have the call fail with EINTR, which stat and an open of a plain file never do. So the tracer,
 * to whom the thread is stopped before the handler runs, has the kernel make the call again behind it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>

#include "observe/notify_own.h"
#include "observe/ptrace.h"

/* <linux/errno.h> of the kernel: the call is made again if the handler's flags allow that; in any case. */
enum { ERESTARTSYS = 512, ERESTARTNOINTR = 513 };

/* Can an open of this path wait, for a FIFO's other end or a device, so that a signal is to end it? */
static int may_wait(int tid, const struct vgpu_notify_row *row, const uint64_t *arguments) {
    char path[PATH_MAX + 64];
    struct stat facts;
    const struct seccomp_notif asked = {.pid = (uint32_t)tid};
    struct vgpu_notify_call call = {.asked = &asked, .row = row};
    if (vgpu_notify_read_text(&call, arguments[row->path], call.text, sizeof(call.text)) < 0) {
        return 1;
    }
    int directory = row->directory >= 0 ? (int)arguments[row->directory] : AT_FDCWD;
    if (call.text[0] == '/') {
        snprintf(path, sizeof(path), "%s", call.text);
    } else if (directory == AT_FDCWD) {
        snprintf(path, sizeof(path), "/proc/%d/cwd/%s", tid, call.text);
    } else {
        snprintf(path, sizeof(path), "/proc/%d/fd/%d/%s", tid, directory, call.text);
    }
    return stat(path, &facts) == 0 && !S_ISREG(facts.st_mode) && !S_ISDIR(facts.st_mode);
}

void vgpu_observe_restart(int tid) {
    struct user_regs_struct now;
    if (ptrace(PTRACE_GETREGS, tid, NULL, &now) != 0 || (long)now.rax != -ERESTARTSYS) {
        return;
    }
    const struct vgpu_notify_row *row = vgpu_notify_row((int32_t)now.orig_rax);
    if (row == NULL || row->kind == VGPU_NOTIFY_IOCTL || row->kind == VGPU_NOTIFY_RING) {
        return;
    }
    const uint64_t arguments[] = {now.rdi, now.rsi, now.rdx, now.r10, now.r8, now.r9};
    int opens = row->kind == VGPU_NOTIFY_OPEN || row->kind == VGPU_NOTIFY_OPENAT2;
    if (opens && may_wait(tid, row, arguments)) {
        return;
    }
    now.rax = (unsigned long long)-ERESTARTNOINTR;
    ptrace(PTRACE_SETREGS, tid, NULL, &now);
}
