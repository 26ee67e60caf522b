"""Generation C's own parts, compiled from their sources with sanitizers: expressions, lines, JSON, merge, parser."""

import hashlib
import json
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.clients import Answer
from support.compile import compile_program

CLIENTS = Path(__file__).parents[1] / "csrc" / "clients"

DRIVER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ollama/gen_c.h"
#include "ollama/log.h"
#include "ollama/regex.h"
#include "ollama/scanner.h"

/* The next record of stdin, "<length>\n<bytes>", in memory exactly as long: a read past the end is seen. */
static char *next_record(size_t *size) {
    if (scanf("%zu%*c", size) != 1) {
        return NULL;
    }
    char *text = malloc(*size ? *size : 1);
    if (text == NULL || fread(text, 1, *size, stdin) != *size) {
        abort();
    }
    return text;
}

static void find(const char *pattern, const char *text, size_t size) {
    struct regex_group groups[REGEX_GROUPS] = {0};
    int found = regex_find(pattern, text, size, groups);
    for (int i = 0; i < REGEX_GROUPS && found && groups[i].start != NULL; i++) {
        printf("%d %d ", (int)(groups[i].start - text), (int)(groups[i].start - text + (long)groups[i].size));
    }
    puts("");
}

static void lines(const char *text, size_t size) {
    struct scanner scanner = scanner_of(text, size);
    while (scanner_next(&scanner)) {
        printf("%zu ", scanner.size);
    }
    puts("");
}

static void show_natives(struct c_natives *natives, char *error) {
    char *text = c_natives_write(natives);
    printf("%s\n%s", error == NULL ? "" : error, text);
    free(text);
    free(error);
    free(natives->items);
}

static void parse(const char *text, size_t size, const char *json, const struct strings *directories) {
    struct c_natives natives = {0};
    struct devices found = {0};
    free(c_natives_parse(json, strlen(json), &natives));
    c_parse(text, size, directories, &natives, &found);
    c_filter_integrated(&found);
    for (size_t i = 0; i < found.count; i++) {
        const struct device *d = &found.items[i];
        printf("%s|%s|%s|%s|%s|%d.%d|%d.%d|%d|%d|%llu|%llu\n", d->id, d->library, d->name, d->description, d->pci_id,
               d->compute_major, d->compute_minor, d->driver_major, d->driver_minor, d->nvidia_driver_major,
               d->integrated, (unsigned long long)d->total, (unsigned long long)d->free);
    }
    devices_free(&found);
    free(natives.items);
}

/* find PATTERN; lines; json; parse NATIVES DIRECTORY...: once a record. merge BASE MORE; version DIRECTORY...: once. */
int main(int argc, char **argv) {
    struct strings directories = {0};
    size_t size;
    char *text;
    log_start();
    for (int i = 3; i < argc; i++) {
        strings_add(&directories, argv[i]);
    }
    if (strcmp(argv[1], "version") == 0) {
        int major = 0;
        int minor = 0;
        int there = c_runtime_version(&directories, &major, &minor);
        printf("%d %d.%d\n", there, major, minor);
    } else if (strcmp(argv[1], "merge") == 0) {
        struct c_natives natives = {0};
        struct c_natives more = {0};
        free(c_natives_parse(argv[2], strlen(argv[2]), &natives));
        free(c_natives_parse(argv[3], strlen(argv[3]), &more));
        c_natives_merge(&natives, &more);
        free(more.items);
        show_natives(&natives, NULL);
    }
    while ((text = next_record(&size)) != NULL) {
        if (strcmp(argv[1], "find") == 0) {
            find(argv[2], text, size);
        } else if (strcmp(argv[1], "lines") == 0) {
            lines(text, size);
        } else if (strcmp(argv[1], "json") == 0) {
            struct c_natives natives = {0};
            char *error = c_natives_parse(text, size, &natives);
            show_natives(&natives, error);
        } else {
            parse(text, size, argv[2], &directories);
        }
        free(text);
    }
    strings_free(&directories);
    return 0;
}
"""

DEVICE_LINE = r"^\s+(.+?):\s+(.+?)\s+\((\d+)\s+MiB,\s+(\d+)\s+MiB\s+free\)"
CAPABILITY = r"Device\s+(\d+):.*compute capability\s+(\d+)\.(\d+)"
ARCHS = r"CUDA\s*:\s*ARCHS\s*=\s*([\d,]+)"
NONE = '{"devices":null}'

GGML = {"library": "CUDA", "index": 0, "index_matches_backend": True, "name": "CUDA0", "description": "one",
        "device_id": "0000:00:05.0", "integrated_known": True, "total_memory": 80, "free_memory": 70}  # fmt: skip
NVIDIA = {"library": "CUDA", "index": 0, "index_matches_backend": True, "description": "two",
          "device_id": "0000:00:05.0", "integrated_known": True, "total_memory": 90, "compute_major": 9,
          "cuda_driver_major": 13, "cuda_driver_minor": 1, "nvidia_driver_major": 580}  # fmt: skip


LIST = "Available devices:\n  CUDA0: NVIDIA H100 (100 MiB, 90 MiB free)\n  CUDA1: NVIDIA T4 (50 MiB, 40 MiB free)\n"
SYSTEM = (
    "0.00.1 I   Device 0: NVIDIA H100, compute capability 9.0, VMM: yes\n"
    "0.00.1 I   Device 1: NVIDIA T4, compute capability 7.5, VMM: yes\n"
    "0.00.1 I system_info: n_threads = 2 | CUDA : ARCHS = 750,900 | USE_GRAPHS = 1 |\n"
)


def disturbed(text: str, seed: int, changes: int = 40) -> str:
    """The text with some characters changed."""
    chance = random.Random(seed)
    characters = list(text)
    for _ in range(chance.randint(1, changes)):
        characters[chance.randrange(len(characters))] = chance.choice(' :.,()\n\r\0\xff0Mx"{}[]')
    return "".join(characters)


@pytest.fixture(scope="module")
def parts() -> Path:
    """The program above, linked with the clients' sources."""
    names = ("c_compat", "c_json", "c_merge", "c_parse", "devices", "glob", "json", "log", "regex", "scanner", "text")
    sources = [CLIENTS / "ollama" / f"{name}.c" for name in names]
    content = hashlib.sha256(
        b"".join(p.read_bytes() for p in [*sources, *sorted(CLIENTS.glob("ollama/*.h"))])
    ).hexdigest()
    sanitize = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return compile_program(
        DRIVER, "parts", f"-DCONTENT=h{content}", f"-I{CLIENTS}", "-D_GNU_SOURCE=1", *sanitize, *map(str, sources)
    )


def ask(parts: Path, words: list[str], *texts: str | bytes, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the program on these records; a sanitizer's report fails the test."""
    plain = [text.encode() if isinstance(text, str) else text for text in texts]
    records = b"".join(b"%d\n%s" % (len(text), text) for text in plain)
    done = subprocess.run(
        [parts, *words],
        input=records,
        env={"OLLAMA_DEBUG": "1", **environment},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return subprocess.CompletedProcess(
        done.args, 0, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def spans(parts: Path, pattern: str, *texts: str) -> list[list[int] | None]:
    """For each text where the whole match and the groups begin and end; None: there is no match."""
    lines = ask(parts, ["find", pattern], *texts).stdout.split("\n")[:-1]
    return [[int(word) for word in line.split()] or None for line in lines]


def expected(pattern: str, text: str) -> list[int] | None:
    """The same by Python, whose classes for space and digit are a little larger than Go's."""
    go = pattern.replace(r"[\d,]", "[0-9,]").replace(r"\s", r"[ \t\n\f\r]").replace(r"\d", "[0-9]")
    found = re.search(go, text)
    return None if found is None else [place for n in range(found.re.groups + 1) for place in found.span(n)]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (DEVICE_LINE, "  CUDA0: NVIDIA H100 80GB HBM3 (81559 MiB, 81078 MiB free)"),
        (DEVICE_LINE, "CUDA0: not indented (1 MiB, 1 MiB free)"),
        (DEVICE_LINE, "  a: b: c (1 MiB, 2 MiB free) (3 MiB, 4 MiB free)"),
        (DEVICE_LINE, "\t a:b: c(x) (1 MiB,  2  MiB\tfree)"),
        (DEVICE_LINE, "   : x (1 MiB, 2 MiB free)"),
        (DEVICE_LINE, "   (1 MiB, 2 MiB free): x (3 MiB, 4 MiB free) tail"),
        (DEVICE_LINE, "  X:   (5 MiB, 4 MiB free)"),
        (DEVICE_LINE, "  X: (5 MiB, 4 MiB free)"),
        (DEVICE_LINE, "  X: y (5 MiB, 4 MiB used)"),
        (DEVICE_LINE, "  X: y (-5 MiB, 4 MiB free)"),
        (DEVICE_LINE, ""),
        (CAPABILITY, "0.00.1 I   Device 0: NVIDIA H100, compute capability 9.0, VMM: yes"),
        (CAPABILITY, "Device 1: Device 2: x compute capability 8.0 compute capability 9.12 y"),
        (CAPABILITY, "Device x: Device 3: compute capability 1"),
        (CAPABILITY, "Device  7:compute capability  10.3"),
        (ARCHS, "system_info: | CUDA : ARCHS = 750,800,900 | USE_GRAPHS = 1 |"),
        (ARCHS, "CUDA:ARCHS=,,| CUDA : ARCHS = 9"),
        (ARCHS, "CUDA : ARCH = 1"),
        ("system_info:", "0.0 I system_info: x"),
        ("a.c*", "xxabccc"),
    ],
)
def test_expressions_match_as_gos(pattern: str, text: str, parts: Path) -> None:
    """Leftmost, first by preference: lazy groups end early, greedy ones late, and give back what the rest needs."""
    assert spans(parts, pattern, text) == [expected(pattern, text)]


def test_expressions_match_as_gos_on_noise(parts: Path) -> None:
    """Random lines of the pieces that the expressions are about."""
    chance = random.Random(20260301)
    pieces = ["  ", "\t", "CUDA0", ":", ": ", " (", "(", "12", " MiB", ", ", " free)", "Device", " compute capability ",
              "9.0", ".", "ARCHS", " = ", ",", "x"]  # fmt: skip
    texts = ["".join(chance.choices(pieces, k=chance.randrange(24))) for _ in range(3000)]
    lines = (LIST + SYSTEM).splitlines()
    texts += [disturbed(line, seed, changes=3) for seed in range(200) for line in lines]
    texts = [text for text in texts if text.isascii()]
    for pattern in (DEVICE_LINE, CAPABILITY, ARCHS):
        answers = [expected(pattern, text) for text in texts]
        assert any(answers)
        assert spans(parts, pattern, *texts) == answers


def test_a_long_line_costs_no_more_than_its_length(parts: Path) -> None:
    """60,000 characters that almost match, in every way: an answer at all, where naive backtracking has none."""
    assert spans(parts, DEVICE_LINE, " " * 30000 + "a: b " * 6000 + "(1 MiB, 1 MiB used)") == [None]
    assert spans(parts, CAPABILITY, "Device 1: " * 6000) == [None]


def test_lines_are_gos(parts: Path) -> None:
    """CRLF, no end at the end, empty lines; one that does not fit in 64 KiB with its end stops the reading."""
    texts = [
        b"a\r\n\nbcd\r", b"", b"x" * 65535 + b"\ny\n", b"a\n" + b"x" * 65536 + b"\ny\n", b"x" * 65535, b"x" * 65536
    ]  # fmt: skip
    lines = ask(parts, ["lines"], *texts).stdout.split("\n")[:-1]
    assert [line.split() for line in lines] == [["1", "0", "3"], [], ["65535", "1"], ["1"], ["65535"], []]


def natives(parts: Path, text: str) -> tuple[str, list[dict[str, Any]]]:
    """The error and the devices of a JSON text."""
    error, written = ask(parts, ["json"], text).stdout.split("\n", 1)
    return error, json.loads(written)["devices"] or []


def test_json_says_the_same_after_a_round(parts: Path) -> None:
    """Every field survives, zero and false ones are left out, unknown ones skipped."""
    text = json.dumps({"other": [{}], "devices": [GGML, NVIDIA | {"gfx_target": "x"}]}, indent=1)
    assert natives(parts, text) == ("", [GGML, NVIDIA])
    assert natives(parts, NONE) == ("", [])
    assert natives(parts, "{}") == ("", [])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "unexpected end of JSON input"),
        ('{"devices":[', "unexpected end of JSON input"),
        ("hello\n" + NONE, "invalid character 'h' looking for beginning of value"),
        (NONE + "\nbye", "invalid character 'b' after top-level value"),
        ("[]", "invalid character '[' looking for beginning of value"),
    ],
)
def test_json_with_chatter_is_refused(text: str, error: str, parts: Path) -> None:
    """What a library writes to stdout, before or behind, leaves no device and a reason."""
    assert natives(parts, text) == (error, [])


def merged(parts: Path, base: list[dict[str, Any]], more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The two lists as one."""
    words = [json.dumps({"devices": items}) for items in (base, more)]
    return natives(parts, ask(parts, ["merge", *words]).stdout.lstrip())[1]


def test_entries_of_one_address_are_one(parts: Path) -> None:
    """The backend's fields stay, the driver's are added; the case of letters does not matter."""
    upper = NVIDIA | {"device_id": "0000:00:0A.0"}
    lower = GGML | {"device_id": "0000:00:0a.0"}
    added = {
        key: NVIDIA[key] for key in ("compute_major", "cuda_driver_major", "cuda_driver_minor", "nvidia_driver_major")
    }
    assert merged(parts, [lower], [upper]) == [lower | added]
    assert merged(parts, [GGML], [NVIDIA]) == [GGML | added]


def test_entries_without_an_address_go_by_number(parts: Path) -> None:
    """An empty address on either side: the index decides, where both are in the backend's order."""
    (both,) = merged(parts, [GGML], [{key: value for key, value in NVIDIA.items() if key != "device_id"}])
    assert (both["device_id"], both["nvidia_driver_major"]) == (GGML["device_id"], 580)
    assert merged(parts, [GGML], [{"library": "CUDA", "index": 0, "integrated_known": False}]) == [GGML]


def test_an_entry_of_another_address_is_discarded(parts: Path) -> None:
    """NVML's form of the address is no match, and its number is taken already; a new number is a new device."""
    assert merged(parts, [GGML], [NVIDIA | {"device_id": "00000000:00:05.0"}]) == [GGML]
    other = NVIDIA | {"device_id": "0000:00:06.0", "index": 1}
    assert merged(parts, [GGML], [other]) == [GGML, other]
    assert merged(parts, [], [NVIDIA, other]) == [NVIDIA, other]


def parsed(
    parts: Path, text: str, *directories: Path, devices: list[dict[str, Any]] | None = None
) -> tuple[list[str], Answer]:
    """The devices of a text as lines, and the log."""
    done = ask(parts, ["parse", json.dumps({"devices": devices}), *map(str, directories)], text)
    return done.stdout.split("\n")[:-1], Answer(0, done.stderr, [])


MIB = 1 << 20


def test_the_text_gives_devices(parts: Path) -> None:
    """Number, library, name, description, capability and memory come from the text alone."""
    lines, log = parsed(parts, LIST + SYSTEM)
    assert lines == [
        f"0|CUDA|CUDA0|NVIDIA H100||9.0|0.0|0|0|{100 * MIB}|{90 * MIB}",
        f"1|CUDA|CUDA1|NVIDIA T4||7.5|0.0|0|0|{50 * MIB}|{40 * MIB}",
    ]
    assert log.lines == []


def test_native_fields_are_added_by_number(parts: Path) -> None:
    """Address, driver and a capability that overrides the printed one."""
    lines, log = parsed(parts, LIST + SYSTEM, devices=[NVIDIA | {"index": 1, "compute_major": 7, "compute_minor": 5}])
    assert lines[0].split("|")[4] == ""
    assert lines[1].split("|")[4:9] == ["0000:00:05.0", "7.5", "13.1", "580", "0"]
    lines, log = parsed(parts, LIST + SYSTEM, devices=[NVIDIA | {"compute_major": 12}])
    assert [line.split("|")[0] for line in lines] == ["1"]
    skipped = log.one("skipping CUDA device")
    assert (skipped["device"], skipped["cc"], skipped["archs"]) == ("NVIDIA H100", "1200", "[750 900]")


def test_what_is_not_known_is_not_filtered(parts: Path) -> None:
    """No capability, or no list of architectures: a warning, and the device stays."""
    lines, log = parsed(parts, LIST)
    assert len(lines) == 2
    assert len(log.all("llama-server discovery: could not determine compute capability for CUDA device")) == 2
    lines, log = parsed(parts, LIST + SYSTEM.replace("ARCHS", "ARKS"))
    assert len(lines) == 2
    assert len(log.all("llama-server discovery: could not determine compiled CUDA architectures")) == 2


def test_numbers_count_lines_not_names(parts: Path) -> None:
    """A pseudo-device takes a number, so that the next device's capability is another's."""
    text = "  BLAS: OpenBLAS (0 MiB, 0 MiB free)\n  CUDA0: NVIDIA H100 (100 MiB, 90 MiB free)\n" + SYSTEM
    lines, log = parsed(parts, text)
    assert [line.split("|")[:6] for line in lines] == [["1", "CUDA", "CUDA0", "NVIDIA H100", "", "7.5"]]
    assert log.one("skipping pseudo-device with zero memory")["name"] == "BLAS"


@pytest.mark.parametrize(
    ("name", "library"),
    [("CUDA0: x", "CUDA"), ("GPU0: a Cuda thing", "CUDA"), ("ROCm0: x", "ROCm"), ("Metal: Apple M3", "Metal"),
     ("Vulkan0: x", "Vulkan"), ("GPU0: strange", "strange")],
)  # fmt: skip
def test_the_library_is_told_by_words(name: str, library: str, parts: Path) -> None:
    """In the name or the description, in any case; else the description itself."""
    lines, _ = parsed(parts, f"  {name} (1 MiB, 1 MiB free)\n")
    assert lines[0].split("|")[1] == library


def test_numbers_too_large_are_the_largest(parts: Path) -> None:
    """Memory and indices past every type: no overflow, no fault."""
    big = "9" * 40
    lines, _ = parsed(parts, f"  CUDA0: x ({big} MiB, {big} MiB free)\nDevice {big}: compute capability {big}.{big}\n")
    assert lines[0].split("|")[-1] == str((2**64 - 1) * MIB % 2**64)


def test_garbage_ends_in_a_result(parts: Path) -> None:
    """Random bytes and changed texts: no read past the end, no fault."""
    texts = [disturbed(LIST + SYSTEM, seed).encode() for seed in range(1000)]
    texts += [random.Random(seed).randbytes(200) for seed in range(200)]
    assert ask(parts, ["parse", NONE], *texts).stdout
    texts = [disturbed(json.dumps({"devices": [GGML, NVIDIA]}), seed).encode() for seed in range(1000)]
    assert "invalid character" in ask(parts, ["json"], *texts).stdout


@pytest.mark.parametrize(
    ("value", "kept"), [(None, ["CUDA"]), ("1", ["CUDA", "Vulkan"]), ("0", []), ("perhaps", ["CUDA"])]
)
def test_integrated_gpus_are_the_users_choice(value: str | None, kept: list[str], parts: Path) -> None:
    """Without a word of OLLAMA_IGPU_ENABLE those of CUDA stay; with one it decides for all; each drop is said."""
    text = "  CUDA0: Tegra (1 MiB, 1 MiB free)\n  Vulkan1: Tegra (1 MiB, 1 MiB free)\n"
    tegra = {"index_matches_backend": True, "integrated": True, "integrated_known": True}
    both = [{"library": "CUDA", "index": 0, **tegra}, {"library": "Vulkan", "index": 1, **tegra}]
    environment = {} if value is None else {"OLLAMA_IGPU_ENABLE": value}
    done = ask(parts, ["parse", json.dumps({"devices": both})], text, **environment)
    assert [line.split("|")[1] for line in done.stdout.splitlines()] == kept
    assert done.stderr.count("dropping integrated GPU; to enable, set OLLAMA_IGPU_ENABLE=1") == 2 - len(kept)


@pytest.mark.parametrize(
    ("folder", "files", "version"),
    [
        ("cuda_v12", ["libcudart.so.12", "libcudart.so.12.8.90"], "1 12.8"),
        ("cuda_v13", ["libcudart.so.13"], "1 13.0"),
        ("cuda_v11", [], "1 11.0"),
        ("cuda_v", [], "0 0.0"),
        ("cuda_v12x", [], "0 0.0"),
        ("other", ["libcudart.so.12.4", "libcudart.so.11.9", "libcudart.so.x", "xlibcudart.so.99"], "1 12.4"),
        ("other", ["libcudart.so"], "0 0.0"),
    ],
)
def test_the_runtime_is_known_by_names(
    folder: str, files: list[str], version: str, parts: Path, tmp_path: Path
) -> None:
    """The highest version of the files' names and of the directory's own."""
    directory = tmp_path / folder
    directory.mkdir()
    for name in files:
        (directory / name).touch()
    done = ask(parts, ["version", "-", str(tmp_path / "nowhere"), str(directory)])
    assert done.stdout.strip() == version
