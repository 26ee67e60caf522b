"""The end of a program: what exit handlers, destructors and those who unload the library are answered."""

import os
import subprocess
from pathlib import Path

import pytest
from support.compile import compile_program

from vgpu_harness._wire import ffi
from vgpu_harness.shims import shim_path

SUCCESS, NOT_INITIALIZED, DEINITIALIZED = 0, 3, 4

PROGRAM = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int (*init)(unsigned);
static int (*count)(int *);
static int (*version)(int *);

static void load(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    init = (int (*)(unsigned))dlsym(library, "cuInit");
    count = (int (*)(int *))dlsym(library, "cuDeviceGetCount");
    version = (int (*)(int *))dlsym(library, "cuDriverGetVersion");
}

static void say(const char *where) {
    int devices = -1;
    int number = -1;
    int code = count(&devices);
    printf("%s %d %d %d\n", where, code, devices, version(&number));
    fflush(stdout);
}

static void before(void) { say("before"); printf("again %d\n", init(0)); }
static void after(void) { say("after"); }
static void __attribute__((destructor)) destructor(void) { if (count != NULL) say("destructor"); }
static void *sleeper(void *none) { pause(); return none; }

int main(int argc, char **argv) {
    load(argv[1]);
    if (strcmp(argv[2], "reload") == 0) {
        for (int i = 0; i < 3; i++) {
            void *library = dlopen(argv[1], RTLD_NOW);
            printf("init %d\n", init(0));
            say("loaded");
            dlclose(library);
            dlclose(library);
            load(argv[1]);
        }
        return argc - argc;
    }
    atexit(before);
    if (strcmp(argv[2], "idle") == 0) {
        return 0;
    }
    printf("init %d\n", init(0));
    atexit(after);
    if (strcmp(argv[2], "threads") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, sleeper, NULL);
    }
    say("main");
    return 0;
}
"""


def said(way: str, image: Path) -> list[str]:
    """What the program prints when it goes this way; it must end with 0."""
    program = compile_program(PROGRAM, "ending", "-pthread", "-ldl")
    environment = {"PATH": os.environ["PATH"], "VGPU_HOST": str(image)}
    done = subprocess.run(
        [program, shim_path("cuda"), way], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("way", ["plain", "threads"])
def test_exit_handlers_from_before_init_have_no_driver(way, vgpu_image):
    """Those from after cuInit have one still; then all is 4, cuInit too, but the version, which needs no driver."""
    assert said(way, vgpu_image) == [
        f"init {SUCCESS}",
        "main 0 1 0",
        "after 0 1 0",
        f"before {DEINITIALIZED} -1 0",
        f"again {DEINITIALIZED}",
        f"destructor {DEINITIALIZED} -1 0",
    ]


def test_an_exit_handler_can_be_the_first_to_initialise(vgpu_image):
    """Without a successful cuInit there is nothing to end; the driver of an exit handler ends with the handlers."""
    assert said("idle", vgpu_image) == [
        f"before {NOT_INITIALIZED} -1 0",
        f"again {SUCCESS}",
        f"destructor {DEINITIALIZED} -1 0",
    ]


def test_unloading_ends_nothing_for_the_next_load(vgpu_image):
    """After dlclose the handler is gone with the library, and the next load starts anew."""
    lines = said("reload", vgpu_image)
    assert lines[:6] == [f"init {SUCCESS}", "loaded 0 1 0"] * 3
    assert lines[6:] == [f"destructor {NOT_INITIALIZED} -1 0"]


def test_a_state_of_a_test_does_not_end(vgpu_cuda):
    """States in this process register no exit handler: they serve as long as they are there."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    assert vgpu_cuda.number("cuDeviceGetCount", "int") == (SUCCESS, 1)
    assert vgpu_cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
