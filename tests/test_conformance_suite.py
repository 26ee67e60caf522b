"""The suite on libraries that are wrong on purpose: each way to be wrong has its own verdict."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_library

from vgpu_harness.conformance import rule as rule_module
from vgpu_harness.conformance.report import to_text
from vgpu_harness.conformance.result import Result, Verdict, as_hoped
from vgpu_harness.conformance.rule import Rule, RuleError, all_rules, load, select
from vgpu_harness.conformance.subject import Subject, subject, subjects
from vgpu_harness.conformance.suite import Suite
from vgpu_harness.errors import RunError, ShimError
from vgpu_harness.host import Host
from vgpu_harness.shims import shim_path

# A libcuda with each of the faults that the rules below meet.
LIBRARY = """
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int cuInit(unsigned flags) { return flags == 0 ? INIT : 1; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int ordinal) { (void)device; (void)ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    (void)name; (void)length; (void)device;
    puts("noise"); fflush(stdout);
    raise(SIGSEGV);
    return 0;
}
int cuCtxSynchronize(void) { for (;;) pause(); }
int cuCtxGetDevice(int *device) { (void)device; exit(7); }
int cuMemFree_v2(unsigned long long address) {
    if (fork() == 0) { if (address == 1) setsid(); for (;;) pause(); }
    return 0;
}
int cuDriverGetVersion(int *version) { (void)version; raise(37); return 0; }
int cuCtxSetCurrent(void *context) { (void)context; return fork() < 0; }
int cuCtxGetApiVersion(void *context, unsigned *version) {
    (void)context;
    for (int i = 0; i < 64; i++) (void)!write(i, "{noise}\\n5}\\n", 11);
    *version = 1;
    return 0;
}
"""
FLAGS = (
    "-w",
    "-DINIT=0",
    "-DCOUNT=1",
)

RULES = '''
from vgpu_harness.conformance.rule import Cuda, rule


@rule("cuInit", source="none", gpu=True)
def good(cuda: Cuda) -> None:
    """It initialises."""
    cuda.init()


@rule("cuDeviceGet", source="none", gpu=True)
def silent(cuda: Cuda) -> None:
    """The device is written."""
    cuda.device()


@rule("cuDeviceGetName", source="none", gpu=True)
def crashing(cuda: Cuda) -> None:
    """The name is answered."""
    cuda.init()
    cuda.call("cuDeviceGetName", cuda.out("char", 8), 8, 0)


@rule("cuCtxSynchronize", source="none", gpu=False)
def hanging(cuda: Cuda) -> None:
    """It comes back."""
    cuda.call("cuCtxSynchronize")


@rule("cuCtxGetDevice", source="none", gpu=False)
def exiting(cuda: Cuda) -> None:
    """It comes back, too."""
    cuda.call("cuCtxGetDevice", None)


@rule("cuCtxGetDevice", source="none", gpu=False)
def leaving(cuda: Cuda) -> None:
    """The rule itself ends the process."""
    raise SystemExit(0)


@rule("cuMemFree_v2", source="none", gpu=False)
def forking(cuda: Cuda) -> None:
    """A process that the library leaves behind neither delays nor outlives the rule."""
    cuda.ok("cuMemFree_v2", 0)


@rule("cuMemFree_v2", source="none", gpu=False)
def straying(cuda: Cuda) -> None:
    """Nor does one that has made a session of its own."""
    cuda.ok("cuMemFree_v2", 1)


@rule("cuDriverGetVersion", source="none", gpu=False)
def signalling(cuda: Cuda) -> None:
    """It comes back, again."""
    cuda.call("cuDriverGetVersion", None)


@rule("cuCtxSetCurrent", source="none", gpu=False)
def doubling(cuda: Cuda) -> None:
    """A function that returns in two processes is one call."""
    cuda.ok("cuCtxSetCurrent", None)
    cuda.ok("cuMemFree_v2", 0)


@rule("cuCtxGetApiVersion", source="none", gpu=False)
def noisy(cuda: Cuda) -> None:
    """What it writes to descriptors that are not its own is not taken for what the rule tells."""
    cuda.ok("cuCtxGetApiVersion", None, cuda.out("unsigned int"))


@rule("cuCtxPopCurrent_v2", source="none", gpu=False)
def absent(cuda: Cuda) -> None:
    """It is exported."""


@rule("cuInit", source="none", gpu=False)
def absent_inside(cuda: Cuda) -> None:
    """What the rule calls besides is exported."""
    cuda.call("cuCtxPopCurrent_v2", None)


@rule("cuInit", source="none", gpu=False)
def mistaken(cuda: Cuda) -> None:
    """The rule has a mistake."""
    cuda.call("cuInit")


@rule("cuInit", source="none", gpu=False)
def curious(cuda: Cuda) -> None:
    """No variable of ours is there, and no stream."""
    import os

    wrong = [name for name in os.environ if name.startswith(("CUDA_", "VGPU_", "LD_PRELOAD", "SECRET"))]
    cuda.equal(wrong, [], "what the library sees")
    cuda.equal([os.readlink(f"/proc/self/fd/{i}") for i in range(3)], ["/dev/null"] * 3, "the streams")
    cuda.equal(cuda.host, None, "the host")
'''

LEAVING = 1 + RULES[: RULES.index("raise SystemExit")].count("\n")


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file with the rules above, loaded for as long as this module runs."""
    file = tmp_path_factory.mktemp("rules") / "odd.py"
    file.write_text(RULES)
    before = all_rules()
    load(file)
    yield file
    rule_module._rules.clear()
    rule_module._rules.update(before)


def library(*flags: str) -> Path:
    """The library above."""
    return compile_library(LIBRARY, "libcuda.so.1", *FLAGS, *flags)


def odd(name: str) -> Rule:
    """One of the rules above."""
    return all_rules()[f"odd.{name}"]


def suite(path: Path, file: Path, **options: Any) -> Suite:
    """On a foreign libcuda, without its sandbox."""
    return Suite({"cuda": subject("cuda", path, None)}, files=(file,), sandbox=False, **options)


@pytest.fixture(scope="module")
def results(rules: Path) -> dict[str, Result]:
    """What comes of each rule, by its function's name."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CUDA_VISIBLE_DEVICES", "VGPU_HOST", "SECRET"):
            patch.setenv(name, "1")
        with suite(library(), rules, timeout=0.5) as worker:
            found = worker.run(select(("odd.*",)))
            return {result.rule.name.partition(".")[2]: result for result in found}


@pytest.mark.parametrize(
    ("name", "verdict", "message"),
    [
        ("good", Verdict.PASSED, ""),
        ("silent", Verdict.FAILED, "an output of int has not been written"),
        ("crashing", Verdict.CRASHED, "in cuDeviceGetName: SIGSEGV"),
        ("hanging", Verdict.HUNG, "in cuCtxSynchronize: killed after 0.5 s"),
        ("exiting", Verdict.CRASHED, "in cuCtxGetDevice: the process exited with status 7"),
        ("leaving", Verdict.FAILED, f"the rule itself ended with SystemExit(0) at odd.py:{LEAVING}"),
        ("forking", Verdict.PASSED, ""),
        ("straying", Verdict.PASSED, ""),
        ("signalling", Verdict.CRASHED, "in cuDriverGetVersion: signal 37"),
        ("doubling", Verdict.PASSED, ""),
        ("noisy", Verdict.PASSED, ""),
        ("absent", Verdict.MISSING, "does not export cuCtxPopCurrent_v2"),
        ("absent_inside", Verdict.MISSING, "does not export cuCtxPopCurrent_v2"),
        ("curious", Verdict.PASSED, ""),
    ],
)
def test_each_way_to_be_wrong_has_its_verdict(
    results: dict[str, Result], name: str, verdict: Verdict, message: str
) -> None:
    """The verdict, and where it happened, of each rule."""
    assert (results[name].verdict, results[name].message) == (verdict, message)


def test_a_mistake_in_a_rule_is_no_pass(results: dict[str, Result]) -> None:
    """It is said with the error and its line."""
    mistaken = results["mistaken"]
    assert mistaken.verdict is Verdict.FAILED
    assert "TypeError('cuInit takes 1 arguments, the rule gives 0; see its declaration')" in mistaken.message


def test_calls_are_known_up_to_the_crash(results: dict[str, Result]) -> None:
    """The log has each call with its answer, and the last one without; the picture shows them."""
    calls = [(call["function"], call["answer"]) for call in results["crashing"].calls]
    assert calls == [("cuInit", 0), ("cuDeviceGetName", None)]
    text = to_text(results["crashing"])
    assert text.splitlines() == [
        "crashed odd.crashing",
        "         rule:   The name is answered.",
        "         source: none",
        "         found:  in cuDeviceGetName: SIGSEGV",
        "           cuInit(0) = 0",
        "           cuDeviceGetName(&char, 8, 0) = no answer",
    ]


def test_a_function_that_returns_twice_is_logged_once(results: dict[str, Result]) -> None:
    """The rule goes on in the process that made the call, and in no other."""
    calls = [(call["function"], call["answer"]) for call in results["doubling"].calls]
    assert calls == [("cuCtxSetCurrent", 0), ("cuMemFree_v2", 0)]


def processes_of(place: Path) -> set[int]:
    """Those whose HOME the folder is."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"HOME={place}".encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return found


def test_nothing_is_left_behind(rules: Path) -> None:
    """Neither the processes of a library nor the worker live on after the suite, and its folder is gone."""
    with suite(library(), rules, timeout=0.2) as worker:
        for name in ("forking", "straying", "hanging"):
            worker.try_rule(odd(name))
            assert processes_of(worker._place) == {worker._worker.pid}
    assert processes_of(worker._place) == set()
    assert not worker._place.exists()


@pytest.mark.parametrize(
    ("flag", "why"), [("-DINIT=100", "cuInit answers 100"), ("-DCOUNT=0", "0 devices are counted")]
)
def test_without_a_gpu_rules_that_need_one_are_not_run(rules: Path, flag: str, why: str) -> None:
    """They are said to be not run, with the reason; the others are tried; nothing passed is not as hoped."""
    with suite(library(f"-U{flag[2:].partition('=')[0]}", flag), rules) as worker:
        result = worker.try_rule(odd("good"))
        assert (result.verdict, result.message) == (Verdict.NOT_RUN, f"no GPU ({why})")
        assert not as_hoped([result])
        other = worker.try_rule(odd("curious"))
        assert other.verdict is Verdict.PASSED
        assert as_hoped([result, other])


def test_an_initialisation_that_crashes_is_told_of(rules: Path) -> None:
    """The reason why a rule was not run is the crash."""
    with suite(library("-UINIT", "-DINIT=(raise(SIGSEGV),0)"), rules) as worker:
        result = worker.try_rule(odd("good"))
    assert result.message == "no GPU (the initialisation crashed in cuInit: SIGSEGV)"


def test_a_library_without_an_initialisation_is_told_of(rules: Path) -> None:
    """The reason why a rule was not run is what is not exported, and no crash."""
    with suite(library("-DcuDeviceGetCount=cuOther"), rules) as worker:
        result = worker.try_rule(odd("good"))
    assert result.message == "no GPU (the library does not export cuDeviceGetCount)"


def test_what_is_missing_can_be_allowed(results: dict[str, Result]) -> None:
    """A function that is not exported is a finding unless it is allowed; a broken rule always is one."""
    assert not as_hoped([results["good"], results["absent"]])
    assert as_hoped([results["good"], results["absent"]], allow_missing=True)
    assert not as_hoped([results["good"], results["silent"]], allow_missing=True)


def test_a_library_in_a_folder_that_may_not_be_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error that names the library and what is refused, and no traceback."""
    is_file = Path.is_file

    def refused(path: Path) -> bool:
        if path.is_relative_to("/closed"):
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(ShimError, match=r"libcuda\.so\.1: cannot be read: Permission denied"):
        subject("cuda", Path("/closed/libcuda.so.1"), None)


def test_what_cannot_be_loaded_is_an_error(rules: Path, tmp_path: Path) -> None:
    """No file, a directory, or no library: a ShimError that names it."""
    text = tmp_path / "libcuda.so.1"
    text.write_text("no library" * 100)
    with (
        suite(text, rules) as worker,
        pytest.raises(ShimError, match=r"libcuda\.so\.1: cannot be loaded: .*invalid ELF"),
    ):
        worker.try_rule(odd("curious"))
    with pytest.raises(ShimError, match="is not a file; give the path of a libcuda"):
        subject("cuda", tmp_path / "gone", None)
    with pytest.raises(ShimError, match="is not a file; give the path of a libnvidia-ml"):
        subject("nvml", tmp_path, None)


def test_our_own_shims_show_a_host_and_others_none() -> None:
    """The default host for our shims, whatever the path to them; a host that is given is shown by any library."""
    own, foreign, host = shim_path("cuda"), library(), Host(driver={"version": "550.54.14"})
    assert subjects(None, None, None) == {
        "cuda": Subject(own, Host(), adaptable=True),
        "nvml": Subject(shim_path("nvml"), Host(), adaptable=True),
    }
    assert subjects(own, None, host) == {"cuda": Subject(own, host)}
    assert subjects(foreign, None, None) == {"cuda": Subject(foreign, None, foreign=True)}
    assert subjects(foreign, None, host)["cuda"].host is host


def test_a_rule_can_ask_for_a_host(tmp_path: Path, rules: Path) -> None:
    """Our shims show the host that a rule needs, unless another one was chosen."""
    file = tmp_path / "wish.py"
    file.write_text(
        "from vgpu_harness.conformance.rule import Nvml, rule\n"
        '@rule("nvmlInit_v2", source="none", gpu=True, host={"gpu": [{}, {}]})\n'
        "def two(nvml: Nvml) -> None:\n"
        '    """Two GPUs."""\n'
        "    nvml.init()\n"
        '    count = nvml.out("unsigned int")\n'
        '    nvml.ok("nvmlDeviceGetCount_v2", count)\n'
        '    nvml.equal((nvml.value(count), len(nvml.host.gpu)), (2, 2), "GPUs")\n'
    )
    load(file)
    two = all_rules()["wish.two"]
    for host, verdict in ((None, Verdict.PASSED), (Host(), Verdict.FAILED)):
        with Suite({"nvml": subject("nvml", None, host)}, files=(file,)) as worker:
            assert worker.try_rule(two).verdict is verdict


def test_a_file_without_rules_is_refused(tmp_path: Path) -> None:
    """One that cannot be read, is wrong, or has no new rule: a RuleError that names it."""
    file = tmp_path / "none.py"
    for text, wrong in ((None, "FileNotFoundError"), ("1 +", "SyntaxError"), ("x = 1", "has no rule")):
        if text is not None:
            file.write_text(text)
        with pytest.raises(RuleError, match=rf"none\.py: .*{wrong}"):
            load(file)
    with pytest.raises(RuleError, match="is no Python file"):
        load(tmp_path / "rules.txt")


def test_a_worker_that_is_gone_is_an_error(rules: Path) -> None:
    """Neither a start that is refused nor an end in the middle is taken for an answer."""
    worker = suite(library(), rules.parent / "gone.py")
    with pytest.raises(RunError, match=r"gone\.py: its rules cannot be read"), worker:
        pass
    with suite(library(), rules) as worker:
        os.kill(worker._worker.pid, 9)
        with pytest.raises(RunError, match="ended with status -9"):
            worker.try_rule(odd("curious"))
