"""Programs that no library can be preloaded into, or that go past libc: static C, Go without cgo, io_uring."""

import shutil
import subprocess
from pathlib import Path

from support.compile import compile_program

GPU = "/sys/bus/pci/devices/0000:00:05.0"
IDS = ["0x10de", "0x2331", "0x030200"]
"""What the default host's GPU has in vendor, device and class."""

READ = r"""
/* Prints the first line of each file that is named; "-" for one that cannot be read. */
#include <stdio.h>
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char line[200] = "-\n";
        FILE *file = fopen(argv[i], "r");
        if (file != NULL) {
            fputs(fgets(line, sizeof(line), file) != NULL ? line : "\n", stdout);
            fclose(file);
        } else {
            fputs(line, stdout);
        }
    }
    return 0;
}
"""

RING = r"""
/* Opens each file that is named by IORING_OP_OPENAT, without libc's help, and prints its first line. */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_by_ring(const char *path) {
    struct io_uring_params params;
    memset(&params, 0, sizeof(params));
    int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
    if (ring < 0) {
        return -1;
    }
    char *sq = mmap(NULL, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                    IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
                    MAP_SHARED, ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *entry = mmap(NULL, sizeof(*entry), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                                      IORING_OFF_SQES);
    memset(entry, 0, sizeof(*entry));
    entry->opcode = IORING_OP_OPENAT;
    entry->fd = AT_FDCWD;
    entry->addr = (uintptr_t)path;
    entry->open_flags = O_RDONLY;
    *(uint32_t *)(sq + params.sq_off.array) = 0;
    __atomic_store_n((uint32_t *)(sq + params.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1) {
        return -1;
    }
    return ((struct io_uring_cqe *)(cq + params.cq_off.cqes))->res;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char text[200] = "-";
        int file = open_by_ring(argv[i]);
        if (file >= 0) {
            ssize_t got = read(file, text, sizeof(text) - 1);
            text[got > 0 ? got : 0] = '\0';
        }
        text[strcspn(text, "\n")] = '\0';
        puts(text);
    }
    return 0;
}
"""

GO = r"""
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	for _, path := range os.Args[1:] {
		if strings.ContainsAny(path, "*") {
			found, _ := filepath.Glob(path)
			fmt.Println(strings.Join(found, " "))
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			fmt.Println("-")
			continue
		}
		fmt.Println(strings.SplitN(string(data), "\n", 2)[0])
	}
}
"""


def static_reader() -> Path:
    """Prints the first lines of files."""
    return compile_program(READ, "reader", "-static")


def reader() -> Path:
    """The same, linked dynamically."""
    return compile_program(READ, "reader")


def ring_reader() -> Path:
    """The same, by io_uring."""
    return compile_program(RING, "ring", "-static")


def go_reader(place: Path) -> Path:
    """The same in Go without cgo, which makes its system calls itself; a pattern is globbed.

    A Go that is missing fails the test: apt-get install golang-go.
    """
    go = shutil.which("go")
    assert go is not None, "go: is not installed; apt-get install golang-go"
    (place / "reader.go").write_text(GO)
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(place), "GOCACHE": str(place / "cache"), "GOPATH": str(place / "path"),
        "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GO111MODULE": "off", "GOTOOLCHAIN": "local",
    }  # fmt: skip
    program = place / "go-reader"
    done = subprocess.run(
        [go, "build", "-o", program, "reader.go"], cwd=place, env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return program
