"""The clients' own parts, compiled from their sources with sanitizers: JSON, globs, log text; and the built files."""

import hashlib
import json
import random
import socket
import subprocess
from pathlib import Path

import pytest
from support.clients import Installation
from support.compile import compile_library, compile_program

from vgpu_harness.shims import client_path
from vgpu_harness.shims.elf import read_elf

CLIENTS = Path(__file__).parents[1] / "csrc" / "clients"

DRIVER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ollama/gen_b.h"
#include "ollama/glob.h"
#include "ollama/log.h"

/* json: records "<length>\n<bytes>" on stdin, one line each on stdout. glob: the pattern. log: key and value.
   size, duration, clean: the argument. */
static int json(void) {
    size_t size;
    while (scanf("%zu%*c", &size) == 1) {
        char *text = malloc(size ? size : 1); /* exactly as long: a read past the end is seen */
        struct devices devices = {0};
        if (text == NULL || fread(text, 1, size, stdin) != size) {
            return 1;
        }
        int result = b_devices_parse(text, size, &devices);
        char *written = b_devices_write(&devices);
        printf("%d %s", result, written);
        free(written);
        free(text);
        devices_free(&devices);
    }
    return 0;
}

int main(int argc, char **argv) {
    char out[32];
    if (argc > 2 && strcmp(argv[1], "glob") == 0) {
        struct strings found = {0};
        glob_paths(argv[2], &found);
        for (size_t i = 0; i < found.count; i++) {
            puts(found.items[i]);
        }
        strings_free(&found);
    } else if (argc > 3 && strcmp(argv[1], "log") == 0) {
        log_start();
        log_line(LOG_INFO, "x.go:1", "m", argv[2], argv[3], NULL);
        log_line(LOG_DEBUG, "x.go:1", "debug", NULL);
        log_line(LOG_TRACE, "x.go:1", "trace", NULL);
        log_line(LOG_WARN, "x.go:1", "warn", NULL);
    } else if (argc > 2 && strcmp(argv[1], "size") == 0) {
        puts(human_bytes(out, strtoull(argv[2], NULL, 10)));
    } else if (argc > 2 && strcmp(argv[1], "duration") == 0) {
        puts(human_duration(out, strtoll(argv[2], NULL, 10)));
    } else if (argc > 2 && strcmp(argv[1], "clean") == 0) {
        char *clean = path_clean(argv[2]);
        puts(clean);
        free(clean);
    } else {
        return json();
    }
    return 0;
}
"""

DEVICE = {
    "id": "GPU-1", "backend": "CUDA", "name": "CUDA0", "description": 'NVIDIA "H100" é\\', "filter_id": "",
    "integration": True, "pci_id": "0000:00:05.0", "total_memory": 2**63 + 1, "free_memory": 7, "ComputeMajor": 9,
    "ComputeMinor": 0, "driver_major": 13, "driver_minor": 1, "LibraryPath": ["/a b", "/c"],
}  # fmt: skip


@pytest.fixture(scope="module")
def parts() -> Path:
    """The program above, linked with the clients' sources."""
    sources = [CLIENTS / "ollama" / f"{name}.c" for name in ("b_json", "devices", "glob", "json", "log", "text")]
    content = hashlib.sha256(
        b"".join(p.read_bytes() for p in [*sources, *sorted(CLIENTS.glob("ollama/*.h"))])
    ).hexdigest()
    sanitize = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return compile_program(
        DRIVER, "parts", f"-DCONTENT=h{content}", f"-I{CLIENTS}", "-D_GNU_SOURCE=1", *sanitize, *map(str, sources)
    )


def ask(parts: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the program; a sanitizer's report fails the test."""
    done = subprocess.run([parts, *arguments], env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done


def parse(parts: Path, *texts: bytes) -> list[tuple[int, list[dict[str, object]]]]:
    """Result and devices of each text."""
    records = b"".join(b"%d\n%s" % (len(text), text) for text in texts)
    done = subprocess.run([parts], input=records, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode(errors="replace").split("\n")[:-1]
    assert len(lines) == len(texts)
    return [(int(line.split(" ", 1)[0]), json.loads(line.split(" ", 1)[1])) for line in lines]


def test_json_says_the_same_after_a_round(parts: Path) -> None:
    """Every field survives reading and writing, whatever order, spaces and unknown members there are."""
    other = {"new": [1, {"x": None}, -2.5e3], **dict(reversed(DEVICE.items())), "also": {}}
    texts = [json.dumps([DEVICE]), json.dumps([other, DEVICE], indent=3), "[]", " null\n"]
    assert parse(parts, *[text.encode() for text in texts]) == [(0, [DEVICE]), (0, [DEVICE, DEVICE]), (0, []), (0, [])]


def test_json_that_is_cut_is_refused(parts: Path) -> None:
    """Each proper prefix of an answer is an error and leaves no device."""
    text = json.dumps([DEVICE]).encode()
    assert set(map(str, parse(parts, *[text[:end] for end in range(len(text))]))) == {"(-1, [])"}


def test_json_survives_garbage(parts: Path) -> None:
    """Random bytes, changed answers and deep nesting end in a result, without a read past the end."""
    chance = random.Random(20251103)
    text = json.dumps([DEVICE, DEVICE]).encode()
    changed = []
    for _ in range(1500):
        copy = bytearray(text)
        for _ in range(chance.randint(1, 4)):
            copy[chance.randrange(len(copy))] = chance.choice(b'\\"[]{},:0u\x00\xffe')
        changed.append(bytes(copy))
    noise = [chance.randbytes(chance.randrange(64)) for _ in range(500)]
    deep = [
        b'[{"x":' + b"[" * 5000,
        b"[" * 5000,
        b'[{"total_memory":' + b"9" * 40 + b"}]",
        b'[{"id":"' + b"a" * 9000 + b'"}]',
    ]
    results = parse(parts, *changed, *noise, *deep)
    assert {result for result, _ in results} == {0, -1}
    assert results[-2][0] == -1
    assert len(str(results[-1][1][0]["id"])) == 95


def test_globs_are_gos(parts: Path, tmp_path: Path) -> None:
    """Sorted within a directory, names with a dot included, no crossing of `/`, links not followed for a plain name."""
    for name in ("lib2/x.so", "lib2/x.so.1", "lib1/x.so.2", "lib1/.x.so", "lib1/y.so", "other/x.so", "lib1/d/x.so"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "lib3").symlink_to("nowhere")
    (tmp_path / "dangling").symlink_to("nowhere")

    def found(pattern: str) -> list[str]:
        return [
            line.removeprefix(f"{tmp_path}/") for line in ask(parts, "glob", f"{tmp_path}/{pattern}").stdout.split()
        ]

    assert found("lib*/x.so*") == ["lib1/x.so.2", "lib2/x.so", "lib2/x.so.1"]
    assert found("lib1/*x*") == ["lib1/.x.so", "lib1/x.so.2"]
    assert found("*/*.so") == ["lib1/.x.so", "lib1/y.so", "lib2/x.so", "other/x.so"]
    assert found("dangling") == ["dangling"]
    assert found("missing*/x") == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"), ("", '""'), ("a b", '"a b"'), ("a=b", '"a=b"'), ('a"b', r'"a\"b"'), ("a\\b", r"a\b"),
        ("a\\ b", r'"a\\ b"'), ("a\nb", r'"a\nb"'), ("a\x01", r'"a\x01"'), ("é", "é"), ("[/a /b]", '"[/a /b]"'),
    ],
)  # fmt: skip
def test_values_are_quoted_as_by_slog(parts: Path, value: str, text: str) -> None:
    """The rules of slog's TextHandler, case by case."""
    first = ask(parts, "log", "key", value).stderr.splitlines()[0]
    assert first.split(" ", 1)[1] == f"level=INFO source=x.go:1 msg=m key={text}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", "m warn"), ("0", "m warn"), ("false", "m warn"), ("1", "m debug warn"), ("true", "m debug warn"),
        ("2", "m debug trace warn"), ("-1", "warn"), ("nonsense", "m warn"),
    ],
)  # fmt: skip
def test_the_level_is_ollamas(parts: Path, value: str, shown: str) -> None:
    """OLLAMA_DEBUG: a boolean means DEBUG, a number n the level -4n."""
    lines = ask(parts, "log", "k", "v", OLLAMA_DEBUG=value).stderr.splitlines()
    assert [line.split("msg=")[1].split()[0] for line in lines] == shown.split()


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("size", "0", "0 B"), ("size", "1023", "1023 B"), ("size", "1536", "1.5 KiB"),
        ("size", "85520809984", "79.6 GiB"),
        ("size", "1073741823", "1024.0 MiB"), ("duration", "0", "0s"), ("duration", "31200000", "31.2ms"),
        ("duration", "850100", "850.1\u00b5s"), ("duration", "1000000000", "1s"),
        ("duration", "90500000000", "1m30.5s"),
        ("clean", "/a/../b//c/.", "/b/c"), ("clean", "../x", "../x"), ("clean", "", "."), ("clean", "/..", "/"),
    ],
)  # fmt: skip
def test_numbers_and_paths_are_printed_as_by_go(parts: Path, kind: str, value: str, text: str) -> None:
    """format.HumanBytes2, time.Duration and filepath.Clean."""
    assert ask(parts, kind, value).stdout.strip() == text


DIRECT = {
    "cuDeviceGet", "cuDeviceGetAttribute", "cuGetErrorString", "cuMemGetAllocationGranularity", "cuMemCreate",
    "cuMemAddressReserve", "cuMemMap", "cuMemSetAccess", "cuMemUnmap", "cuMemRelease", "cuMemAddressFree",
}  # fmt: skip


@pytest.mark.parametrize("major", [12, 13])
def test_the_backend_binds_eleven_names_directly(major: int) -> None:
    """The library needs libcuda.so.1 and exactly the eleven names of the original, has no RPATH, and exports two."""
    from elftools.elf.elffile import ELFFile

    path = client_path(f"ggml/cuda_v{major}/libggml-cuda.so")
    with path.open("rb") as file:
        elf = ELFFile(file)
        tags = list(elf.get_section_by_name(".dynamic").iter_tags())
        symbols = list(elf.get_section_by_name(".dynsym").iter_symbols())
    assert {tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"} >= {"libcuda.so.1"}
    assert not [tag for tag in tags if tag.entry.d_tag in {"DT_RPATH", "DT_RUNPATH"}]
    wanted = {name for name, version in read_elf(path).required if name.startswith("cu") and version == ""}
    exported = {s.name for s in symbols if s["st_shndx"] != "SHN_UNDEF" and s["st_info"]["bind"] == "STB_GLOBAL"}
    assert wanted == DIRECT
    assert exported == {"ggml_backend_init", "ggml_log_set"}


BUFFERS = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include "ggml/backend.h"
int main(int argc, char **argv) {
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = library ? dlsym(library, "ggml_backend_init") : NULL;
    ggml_backend_init_function init;
    if (symbol == NULL) {
        return 9;
    }
    memcpy(&init, &symbol, sizeof init);
    struct ggml_backend_reg *reg = init();
    void *buffer = reg->buffer_new(0, 3 << 20);
    reg->buffer_free(buffer);
    return buffer == NULL;
}
"""


def test_a_buffer_is_made_of_virtual_memory(tmp_path: Path) -> None:
    """The remaining seven names are called in order, the size rounded up to the granularity; a failure aborts."""
    installation = Installation(tmp_path, "b", backends=("cuda_v13",))
    program = compile_program(BUFFERS, "buffers", f"-I{CLIENTS}")
    library = installation.library_directory / "cuda_v13" / "libggml-cuda.so"
    log = tmp_path / "calls"
    environment = {"LD_LIBRARY_PATH": f"{installation.library_directory}:{library.parent}", "FAKE_LOG": str(log)}
    done = subprocess.run([program, library], env=environment, capture_output=True, timeout=10, check=False)
    assert done.returncode == 0
    made = ["cuMemCreate", "cuMemAddressReserve", f"cuMemMap {4 << 20}", "cuMemRelease", "cuMemSetAccess"]
    assert log.read_text().split("\n")[-8:-1] == [*made, "cuMemUnmap", "cuMemAddressFree"]
    failing = {**environment, "FAKE_cuMemMap": "2"}
    done = subprocess.run([program, library], env=failing, capture_output=True, timeout=10, check=False)
    assert done.returncode == -6


STUB = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    for (int i = 2; i < argc; i++) {
        int (*function)(void);
        void *symbol = library ? dlsym(library, argv[i]) : NULL;
        memcpy(&function, &symbol, sizeof function);
        printf("%d\n", symbol ? function() : -1);
    }
}
"""


def test_the_foreign_library_answers_34_to_everything() -> None:
    """Every name that a client uses is there and answers CUDA_ERROR_STUB_LIBRARY; others are missing."""
    names = [*sorted(DIRECT), "cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGetUuid",
             "cuDeviceGetUuid_v2", "cuDeviceGetName", "cuCtxCreate_v3", "cuMemGetInfo_v2", "cuCtxDestroy",
             "cuDeviceTotalMem_v2", "cuDeviceGetPCIBusId", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"]  # fmt: skip
    program = compile_program(STUB, "stub")
    command = [program, client_path("stub/libcuda.so.1"), *names, "cuNotThere"]
    answers = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.split()
    assert answers == ["34"] * len(names) + ["-1"]


def test_a_foreign_library_in_the_way_is_the_one_that_answers(tmp_path: Path) -> None:
    """A: the stub fails with 34 and the next library is tried. B: ld.so's choice is final."""
    stub = client_path("stub/libcuda.so.1")
    first = Installation(tmp_path / "a", "a")
    (first.library_directory / "libcuda.so").symlink_to(stub)
    answer = first.serve()
    assert answer.one("Unable to load cudart library")["msg"].endswith("init failure: 34")
    assert answer.one("inference compute")["library"] == "cuda"
    second = Installation(tmp_path / "b", "b", backends=("cuda_v13",))
    (second.library_directory / "libcuda.so.1").unlink()
    (second.library_directory / "libcuda.so.1").symlink_to(stub)
    answer = second.serve()
    assert "CUDA driver version is insufficient for CUDA runtime version" in answer.stderr
    assert answer.one("inference compute")["library"] == "cpu"


def test_a_backend_with_a_score_of_zero_is_not_used(tmp_path: Path) -> None:
    """ggml_backend_score: 0 means not supported; of several variants the highest score is opened."""
    source = """
    #include <unistd.h>
    int ggml_backend_score(void); int ggml_backend_score(void) { return SCORE; }
    void *ggml_backend_init(void); void *ggml_backend_init(void) { (void)!write(2, NAME "\\n", sizeof NAME); return 0; }
    """
    installation = Installation(tmp_path, "b", backends=())
    directory = installation.library_directory / "cuda_v13"
    directory.mkdir()
    for name, score in (("one", 1), ("nine", 9), ("none", 0)):
        built = compile_library(source, f"lib{name}.so", f"-DSCORE={score}", f'-DNAME="init-{name}"')
        (directory / f"libggml-cuda-{name}.so").symlink_to(built)
    stderr = installation.serve().stderr
    assert [line for line in stderr.splitlines() if line.startswith("init-")] == ["init-nine"]


RESERVE = r"""
#include <stdio.h>
#include "ollama/http.h"

int main(void) {
    int port;
    int fd = http_reserve_port(&port);
    printf("%d\n", port);
    fflush(stdout);
    getchar();
    return fd < 0;
}
"""


def test_a_reserved_port_is_kept_for_the_runner(tmp_path: Path) -> None:
    """Nobody else can take the port, as another runner's server once did; a listener that shares it can."""
    source = tmp_path / "reserve.c"
    source.write_text(RESERVE)
    program = tmp_path / "reserve"
    files = [source, CLIENTS / "ollama" / "http.c", CLIENTS / "ollama" / "text.c"]
    command = ["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-I", CLIENTS, *files, "-o", program]
    subprocess.run(command, check=True, timeout=60)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with socket.socket() as runner:
            runner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            runner.bind(("127.0.0.1", port))
            runner.listen()
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        process.communicate("\n", timeout=10)
    assert process.returncode == 0
