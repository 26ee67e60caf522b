"""The mini ggml libraries of generation C and llama-server: ggml's own ABI, what is linked, how backends are loaded."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.compile import compile_library, compile_program

from vgpu_harness.discovery.installation import Layout, lay_out
from vgpu_harness.run import run
from vgpu_harness.shims import client_path
from vgpu_harness.trace import Kind, Library

CLIENTS = Path(__file__).parents[1] / "csrc" / "clients"

DIRECT = {
    "cuDeviceGet", "cuDeviceGetAttribute", "cuGetErrorString", "cuMemAddressFree", "cuMemAddressReserve", "cuMemCreate",
    "cuMemGetAllocationGranularity", "cuMemMap", "cuMemRelease", "cuMemSetAccess", "cuMemUnmap",
}  # fmt: skip

USER = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llama/ggml_abi.h"
static void *get(void *library, const char *name) {
    void *symbol = library == NULL ? NULL : dlsym(library, name);
    if (symbol == NULL) { fprintf(stderr, "%s: %s\n", name, dlerror()); exit(9); }
    return symbol;
}
int main(int argc, char **argv) {
    void *base = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    void *registry = dlopen(argv[2], RTLD_NOW | RTLD_GLOBAL);
    ggml_backend_reg_t (*load)(const char *);
    ggml_backend_dev_t (*device)(ggml_backend_reg_t, size_t);
    void (*props)(ggml_backend_dev_t, struct ggml_backend_dev_props *);
    ggml_backend_t (*start)(ggml_backend_dev_t, const char *);
    void (*end)(ggml_backend_t);
    struct ggml_backend_dev_props found;
    *(void **)&load = get(registry, "ggml_backend_load");
    *(void **)&device = get(base, "ggml_backend_reg_dev_get");
    *(void **)&props = get(base, "ggml_backend_dev_get_props");
    *(void **)&start = get(base, "ggml_backend_dev_init");
    *(void **)&end = get(base, "ggml_backend_free");
    ggml_backend_reg_t reg = load(argv[3]);
    if (argc != 4 || reg == NULL || load(argv[3]) != reg) return 8;
    props(device(reg, 0), &found);
    printf("%s|%s|%s|%zu|%zu|%d\n", found.name, found.description, found.device_id, found.memory_free,
           found.memory_total, (int)found.type);
    fflush(stdout);
    end(start(device(reg, 0), NULL));
    return 0;
}
"""


@pytest.mark.parametrize("major", [12, 13])
def test_the_backend_is_linked_as_the_original(major: int) -> None:
    """libggml-base, the runtime and cuBLAS of one major with their versions, eleven names of libcuda, one export."""
    from elftools.elf.elffile import ELFFile

    with client_path(f"ggml-c/cuda_v{major}/libggml-cuda.so").open("rb") as file:
        elf = ELFFile(file)
        tags = list(elf.get_section_by_name(".dynamic").iter_tags())
        symbols = list(elf.get_section_by_name(".dynsym").iter_symbols())
        versions = {
            node.name: [auxiliary.name for auxiliary in nodes]
            for node, nodes in elf.get_section_by_name(".gnu.version_r").iter_versions()
        }
    needed = {tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"} - {"libc.so.6"}
    cuda = {f"libcudart.so.{major}", f"libcublas.so.{major}"}
    assert needed == cuda | {"libggml-base.so", "libcuda.so.1"}
    assert {name: versions[name] for name in cuda} == {name: [name] for name in cuda}
    assert not [tag for tag in tags if tag.entry.d_tag in {"DT_RPATH", "DT_RUNPATH"}]
    undefined = {symbol.name for symbol in symbols if symbol["st_shndx"] == "SHN_UNDEF"}
    assert {name for name in undefined if re.match("cu[A-Z]", name)} == DIRECT
    exported = {s.name for s in symbols if s["st_shndx"] != "SHN_UNDEF" and s["st_info"]["bind"] == "STB_GLOBAL"}
    assert exported == {"ggml_backend_init"}
    properties = "cudaGetDeviceProperties" + ("_v2" if major == 12 else "")
    assert properties in undefined


def test_a_device_in_use_is_asked_by_the_drivers_memory_calls(tmp_path: Path) -> None:
    """ggml_backend_dev_init maps a pool, in order; ggml_backend_free takes it down; a second load is the same."""
    layout = lay_out("c", tmp_path)
    library = layout.library_directory
    program = compile_program(USER, "user", f"-I{CLIENTS}")
    files = [library / "libggml-base.so", library / "libggml.so", library / "cuda_v13" / "libggml-cuda.so"]
    made = run([program, *files], directory=tmp_path, library_path=[library / "cuda_v13"], timeout=20)
    assert made.returncode == 0, made.stderr
    name, description, address, available, total, kind = made.stdout.strip().split("|")
    assert (name, description, address, kind) == ("CUDA0", "NVIDIA H100 80GB HBM3", "0000:00:05.0", "1")
    assert int(available) == int(total) == 81079 << 20
    calls = [
        record.name for record in made.trace.records if record.kind == Kind.CALL and record.library == Library.CUDA
    ]
    pool = [name for name in calls if name in DIRECT and name.startswith("cuMem")]
    assert pool == ["cuMemGetAllocationGranularity", "cuMemCreate", "cuMemAddressReserve", "cuMemMap", "cuMemRelease",
                    "cuMemSetAccess", "cuMemUnmap", "cuMemAddressFree"]  # fmt: skip


def llama_server(layout: Layout, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """llama-server by itself, without a driver."""
    return subprocess.run(
        [str(layout.library_directory / "llama-server"), *words],
        env={"PATH": os.environ["PATH"], **environment},
        cwd=layout.library_directory,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )


REG = r"""
#include "llama/ggml_abi.h"
static const char *name(ggml_backend_reg_t reg) { (void)reg; return "TEST"; }
static size_t count(ggml_backend_reg_t reg) { (void)reg; return 0; }
static struct ggml_backend_reg reg = {VERSION, {name, count, 0, 0}, 0};
#ifdef SCORE
int ggml_backend_score(void) { return SCORE; }
#endif
#ifndef NO_INIT
ggml_backend_reg_t ggml_backend_init(void) { return ANSWER; }
#endif
"""


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("-DVERSION=2", "-DANSWER=&reg"), "I load_backend: loaded TEST backend from {}"),
        (("-DVERSION=2", "-DANSWER=&reg", "-DSCORE=1"), "I load_backend: loaded TEST backend from {}"),
        (("-DVERSION=2", "-DANSWER=&reg", "-DSCORE=0"), "I load_backend: backend {} is not supported on this system"),
        (
            ("-DVERSION=2", "-DNO_INIT", "-Wno-unused-variable"),
            "E load_backend: failed to find ggml_backend_init in {}",
        ),
        (
            ("-DVERSION=2", "-DANSWER=0", "-Wno-unused-variable"),
            "E load_backend: failed to initialize backend from {}: ggml_backend_init returned NULL",
        ),
        (
            ("-DVERSION=1", "-DANSWER=&reg"),
            "E load_backend: failed to initialize backend from {}: incompatible API version (backend: 1, current: 2)",
        ),
    ],
)
def test_a_backend_that_is_named_says_why_not(flags: tuple[str, ...], line: str, tmp_path: Path) -> None:
    """GGML_BACKEND_PATH is loaded aloud: each reason has its line; the list of devices is printed all the same."""
    layout = lay_out("c", tmp_path)
    library = compile_library(REG, "libggml-test.so", f"-I{CLIENTS}", *flags)
    done = llama_server(layout, "--list-devices", "--offline", "--verbose", GGML_BACKEND_PATH=str(library))
    assert (done.returncode, done.stdout) == (0, "Available devices:\n")
    (only,) = done.stderr.splitlines()
    assert re.sub(r"^\d+\.\d\d\.\d{3}\.\d{3} ", "", only) == line.format(library)
    quiet = llama_server(layout, "--list-devices", "--offline", GGML_BACKEND_PATH=str(library))
    assert bool(quiet.stderr) == line.startswith("E ")


def test_a_backend_beside_the_program_fails_without_a_word(tmp_path: Path) -> None:
    """ggml_backend_load_all is silent about what lies there and cannot be used, and loads what can."""
    layout = lay_out("c", tmp_path)
    target = layout.library_directory / "libggml-cuda.so"
    target.write_bytes(b"no library")
    assert llama_server(layout, "--list-devices", "--verbose").stderr == ""
    shutil.copy(compile_library(REG, "libggml-test.so", f"-I{CLIENTS}", "-DVERSION=2", "-DANSWER=&reg"), target)
    assert f"loaded TEST backend from {target}" in llama_server(layout, "--list-devices", "--verbose").stderr


def test_llama_server_without_its_libraries(tmp_path: Path) -> None:
    """A missing libggml-base.so or a foreign libggml.so: status 127, as where ld.so cannot start a program."""
    layout = lay_out("c", tmp_path)
    (layout.library_directory / "libggml-base.so").rename(layout.library_directory / "moved")
    done = llama_server(layout, "--list-devices")
    assert done.returncode == 127
    assert "error while loading shared libraries" in done.stderr
    (layout.library_directory / "moved").rename(layout.library_directory / "libggml-base.so")
    (layout.library_directory / "libggml.so").unlink()
    shutil.copy(compile_library("int nothing;", "libggml.so"), layout.library_directory / "libggml.so")
    done = llama_server(layout, "--list-devices")
    assert done.returncode == 127
    assert "undefined symbol: ggml_backend_load_all" in done.stderr


def test_llama_server_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """An unknown option ends it before anything is loaded."""
    done = llama_server(lay_out("c", tmp_path), "--list-devices", "--model", "x")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: invalid argument: --model\n")
