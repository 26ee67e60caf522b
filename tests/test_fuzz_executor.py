"""The executor does what it is asked: calls and results travel whole, in order, and on the host that is set."""

import itertools
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from socket import socketpair

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.compile import compile_library

from vgpu_harness.fuzz import Call, Ended, Executor, ExecutorError, Handle, Kept, Memory, TextAt, c_string
from vgpu_harness.fuzz.answer import Answer
from vgpu_harness.fuzz.calls import Kind, signatures
from vgpu_harness.fuzz.format import Format
from vgpu_harness.host import Delivery, Gpu, Host
from vgpu_harness.shims.paths import client_path
from vgpu_harness.trace import Trace

HOST = Host(gpu=(Gpu(), Gpu(pci="0000:00:06.0", name="A second one")))

# Answers argument number `n` of the eight, and for 9 who calls.
ECHO = """
#define _GNU_SOURCE
#include <stdint.h>
#include <unistd.h>
uint64_t nth(uint64_t n, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    uint64_t all[] = {n, b, c, d, e, f, g, h};
    return n == 9 ? (uint64_t)gettid() : all[n];
}
"""


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    """The shims, a library that echoes, and functions of libc."""
    library = compile_library(ECHO, "libecho.so")
    delivery = Delivery(preload=(str(library), "cuda", "nvml"))
    with Executor(
        HOST.model_copy(update={"delivery": delivery}), functions=("nth", "memcpy", "getpid", "getenv")
    ) as up:
        yield up


@given(st.integers(1, 7), st.lists(st.integers(0, 2**64 - 1), min_size=7, max_size=7), st.integers(0, 3))
def test_numbers_travel_whole(executor: Executor, place: int, numbers: list[int], thread: int) -> None:
    """Each of eight arguments arrives in its place with all of its 64 bits, in any thread, and so does what returns."""
    assert executor.run([Call("nth", (place, *numbers), thread)]).results[0].value == numbers[place - 1]


@given(st.binary(max_size=600), st.integers(0, 64), st.binary(max_size=64))
def test_memory_travels_whole(executor: Executor, source: bytes, room: int, given_before: bytes) -> None:
    """What is given is there for the call, what the call writes comes back, and the rest is as it was."""
    target = Memory(len(source) + len(given_before) + room, given_before)
    outcome = executor.run([Call("memcpy", (target, Memory(len(source), source), len(source)))])
    copied, untouched = outcome.results[0].outputs
    assert copied == source + target.filled()[len(source) :]
    assert untouched == source
    assert outcome.problems == ()


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(min_size=8, max_size=8)), min_size=1, max_size=20))
def test_registers_keep_what_was_written_last(executor: Executor, written: list[tuple[int, bytes]]) -> None:
    """A register is what the last call that wrote there left, and 0 if none did."""
    calls = [Call("memcpy", (Memory(8, keep=register), Memory(8, raw), 8)) for register, raw in written]
    calls += [Call("nth", (1, Kept(register))) for register in range(256)]
    values = [result.value for result in executor.run(calls).results[len(written) :]]
    last = {register: int.from_bytes(raw, "little") for register, raw in written if raw != bytes([90]) * 8}
    assert values == [last.get(register, 0) for register in range(256)]


def test_threads_are_threads(executor: Executor) -> None:
    """Four of them in one process: thread 0 is its first, each stays the same, and no two are one."""
    calls = [Call("getpid"), *(Call("nth", (9,), thread) for thread in (0, 1, 2, 3, 3, 2, 1, 0))]
    pid, *tids = [result.value for result in executor.run(calls).results]
    assert tids[0] == pid
    assert tids == tids[::-1]
    assert len(set(tids)) == 4


def test_each_sequence_has_a_process_of_its_own(executor: Executor) -> None:
    """No two have the same, and none is the executor."""
    outcomes = executor.run_many([[Call("getpid"), Call("getpid")]] * 100)
    pids = [[result.value for result in outcome.results] for outcome in outcomes]
    assert all(first == second for first, second in pids)
    assert len({first for first, _ in pids} | {executor.pid}) == 101


TALK = [
    Call("cuDeviceGetCount", (Memory(4),)),
    Call("cuInit", (0,)),
    Call("cuDeviceGetCount", (Memory(4),)),
    Call("cuDeviceGetName", (Memory(32), 32, 1)),
    Call("cuDeviceGetName", (Memory(4), 4, 1)),
    Call("cuDeviceGetUuid", (Memory(16), 0)),
    Call("cuGetErrorName", (3, TextAt())),
    Call("cuGetErrorName", (-1, TextAt())),
    Call("nvmlErrorString", (6,)),
    Call("cuCtxCreate_v2", (Memory(8, keep=0), 0, 1)),
    Call("cuDevicePrimaryCtxRetain", (Memory(8, keep=1), 1)),
    Call("cuCtxGetCurrent", (Memory(8),)),
    Call("cuCtxPushCurrent_v2", (Kept(1),)),
    Call("cuCtxGetCurrent", (Memory(8),)),
    Call("cuCtxGetCurrent", (Memory(8),), 1),
    Call("nvmlInit_v2"),
    Call("nvmlDeviceGetHandleByPciBusId_v2", (c_string("0000:00:06.0"), Memory(8, keep=2))),
    Call("nvmlDeviceGetPciInfo_v3", (Kept(2), Memory(68))),
]
ANSWERS = [
    Answer(3), Answer(0), Answer(0, (2,)), Answer(0, ("A second one",)), Answer(0, ("A s",)),
    Answer(0, (HOST.gpu[0].uuid.removeprefix("GPU-").replace("-", ""),)), Answer(0, ("CUDA_ERROR_NOT_INITIALIZED",)),
    Answer(1), Answer(0, ("Not Found",)), Answer(0, (1,)), Answer(0, (2,)), Answer(0, (1,)), Answer(0),
    Answer(0, (2,)), Answer(0, (0,)), Answer(0), Answer(0, (3,)),
    Answer(0, ("0000:00:06.0", 0, 0, 6, 0x233110DE, 0x16C110DE, "00000000:00:06.0")),
]  # fmt: skip


def test_answers_are_numbers_texts_and_handles_by_their_turn(executor: Executor) -> None:
    """Every output in the form of the reference model; a handle is the same token wherever it comes up."""
    outcome = executor.run(TALK)
    assert list(outcome.answers) == ANSWERS
    assert repr(outcome.answers[9].values[0]) == repr(Handle(1)) == "handle 1"
    assert (outcome.ended, outcome.problems) == (Ended.LEFT, ())


def test_a_session_answers_as_a_run_does(executor: Executor) -> None:
    """Call by call in one process: the same answers; while it is open, nothing else can be run."""
    with executor.session() as session:
        for call in TALK:
            assert session.call(call).ended is Ended.STAYS
        with pytest.raises(ExecutorError, match="a session is open; close it first"):
            executor.run(TALK)
    assert list(session.outcome.answers) == ANSWERS
    assert (session.outcome.ended, session.outcome.problems) == (Ended.LEFT, ())
    with pytest.raises(ExecutorError, match="left as it should; open another"):
        session.call(TALK[0])


def test_outcomes_come_in_order_whatever_the_size(executor: Executor) -> None:
    """More sequences than one batch, more bytes than one request, and one whose answers fill the most there may be."""
    sizes = [1, 4000, 7, 300, 2] * 30
    batch = [[Call("memcpy", (Memory(size), Memory(size, bytes(size)), size))] * 12 for size in sizes]
    outcomes = list(executor.run_many(batch))
    assert [len(outcome.results[-1].outputs[0] or b"") for outcome in outcomes] == sizes
    assert [len(outcome.results) for outcome in outcomes] == [12] * len(sizes)
    assert list(executor.run_many([])) == []


def test_results_without_room_are_told() -> None:
    """A sequence whose results do not fit ends as that, with those that did, and the next one is sound."""
    fills = Call("memset", (Memory(8000), 1, 8000))
    with Executor(functions=("memset",)) as executor:
        outcome = executor.run([fills] * 200)
        assert (outcome.ended, outcome.problems[0].text) == (Ended.FULL, "the results have no room in call 130, memset")
        assert len(outcome.results) == 130
        assert executor.run([fills] * 130).problems == ()


def test_hosts_and_variables_hold_for_what_starts_from_then_on(executor: Executor) -> None:
    """Another host, then a variable that hides its first device."""
    names = [Call("cuInit", (0,)), Call("cuDeviceGetName", (Memory(32), 32, 0))]
    before = executor.run(names).answers[1]
    with Executor(HOST, functions=("getenv",)) as other:
        other.set_host(Host(gpu=(Gpu(name="one"), Gpu(name="two", pci="0000:00:07.0"))))
        assert other.run(names).answers[1] == Answer(0, ("one",))
        other.set_variable("CUDA_VISIBLE_DEVICES", "1")
        assert other.run(names).answers[1] == Answer(0, ("two",))
        assert other.run([Call("getenv", (c_string("CUDA_VISIBLE_DEVICES"),))]).results[0].value != 0
        assert other.run([Call("getenv", (c_string("HOSTNAME"),))]).results[0].value == 0
    assert executor.run(names).answers[1] == before


def test_libraries_are_named(executor: Executor) -> None:
    """Where each function comes from; all of the entry points come from the shims that are preloaded."""
    found = {name: Path(path).name for name, path in executor.libraries.items()}
    assert {found[name] for name, entry in signatures().items() if entry.api == "cuda"} == {"libvgpu-cuda.so"}
    assert {found[name] for name, entry in signatures().items() if entry.api == "nvml"} == {"libvgpu-nvml.so"}
    assert (found["nth"], found["memcpy"]) == ("libecho.so", "libc.so.6")


def test_libraries_that_are_not_preloaded_are_loaded_by_soname(tmp_path: Path) -> None:
    """Where nothing is preloaded, libcuda.so.1 comes from the given folder; what no library has is told as missing."""
    library = compile_library("int cuInit(unsigned int flags) { return 40 + (int)flags; }", "libcuda.so.1")
    with Executor(Host(delivery=Delivery(preload=())), library_path=[library.parent]) as executor:
        outcome = executor.run([Call("cuInit", (2,)), Call("nvmlInit_v2"), Call("cuInit", (3,))])
        assert executor.libraries["cuInit"] == str(library)
        assert executor.libraries["nvmlInit_v2"] == ""
    assert [result.code for result in outcome.results] == [42, 0, 43]
    assert [problem.text for problem in outcome.problems] == ["no library has the function in call 1, nvmlInit_v2"]


def test_calls_can_be_traced(tmp_path: Path) -> None:
    """With a trace each process is another one in it, whose first call finds a shim that has not been used."""
    with Executor(trace=tmp_path / "trace") as executor:
        list(executor.run_many([[Call("cuInit", (0,)), Call("cuDeviceGetCount", (Memory(4),))]] * 3))
    records = Trace.open(tmp_path / "trace").records
    by_pid = {pid: [r.kind.name for r in of] for pid, of in itertools.groupby(records, lambda record: record.pid)}
    assert len(by_pid) == 3
    assert all(kinds == ["INIT", "GATE", "ENTERED", "CALL", "CALL"] for kinds in by_pid.values())


def test_an_outcome_prints_as_a_program_that_shows_it_again() -> None:
    """The text of an outcome, executed, gives the same outcome: host, variables, functions and time included."""
    with Executor(HOST, functions=("raise", "pause"), env={"CUDA_VISIBLE_DEVICES": "1"}) as executor:
        executor.set_variable("GGML_X", "y")
        crash = executor.run([*TALK[1:4], Call("raise", (11,), thread=1)])
        hang = executor.run([Call("pause")], timeout=0.25)
    assert str(crash).startswith("# crash: SIGSEGV in call 3, raise\n")
    assert "GGML_X" in str(crash)
    for outcome in (crash, hang):
        names: dict[str, object] = {}
        exec(str(outcome), names)
        assert names["outcome"] == outcome


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (Call("system"), "does not know this function; name it in Executor"),
        (Call("cuInit", (0,), 4), "more than the executor takes"),
        (Call("cuInit", (0,) * 9), "more than the executor takes"),
        (Call("cuInit", (Kept(256),)), "more than the executor takes"),
        (Call("cuInit", (Memory(8, keep=256),)), "more than the executor takes"),
        (Call("cuInit", (Memory(2, b"abc"),)), "more than the executor takes"),
        (Call("cuInit", (Memory(32_768),)), "more than the executor takes"),
    ],
)
def test_what_cannot_be_asked_is_refused(call: Call, said: str, executor: Executor) -> None:
    """Before anything is sent: the executor goes on."""
    with pytest.raises(ExecutorError, match=said):
        executor.run([call])
    assert executor.run(TALK[:1]).problems == ()


@pytest.mark.parametrize(("name", "value"), [("", "1"), ("A=B", "1"), ("A\0", "1"), ("A", "\0"), ("A" * 256, "1")])
def test_a_variable_that_cannot_be_is_refused(name: str, value: str, executor: Executor) -> None:
    """The executor would end over it, and the next sequence would be told as the one that did."""
    with pytest.raises(ExecutorError, match="cannot be set"):
        executor.set_variable(name, value)
    assert executor.run(TALK).problems == ()


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), float("inf"), 5e6])
def test_a_time_that_cannot_be_is_refused(timeout: float, executor: Executor) -> None:
    """With one error, and before anything is called."""
    with pytest.raises(ExecutorError, match="is no time"):
        executor.run(TALK, timeout)


def test_a_program_that_cannot_be_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's reason, and no descriptor is left."""
    monkeypatch.setattr("vgpu_harness.fuzz.connection.client_path", lambda _: tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ExecutorError, match="cannot be started: Permission denied"), Executor():
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_executor_that_is_not_running_says_so() -> None:
    """Before `with` and behind it."""
    executor = Executor()
    with pytest.raises(ExecutorError, match="use it inside of `with`"):
        executor.run(TALK)
    with executor:
        pass
    with pytest.raises(ExecutorError, match="use it inside of `with`"):
        executor.run(TALK)


# The format

RECORDS = ("request", "found", "example", "call", "argument", "outcome", "result", "output", "descriptor")


def spoken_to(request: bytes) -> tuple[bytes, int, str]:
    """What an executor answers to raw bytes until it ends: bytes, exit status, complaint."""
    ours, theirs = socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [client_path("vgpu-executor"), str(theirs.fileno())], pass_fds=[theirs.fileno()], stderr=subprocess.PIPE
            )
        ours.settimeout(10)
        ours.sendall(request)
        ours.shutdown(1)
        said = b"".join(iter(lambda: ours.recv(65536), b""))
    _, complaint = process.communicate(timeout=10)
    return said, process.returncode, complaint.decode()


@pytest.fixture(scope="module")
def greeting() -> str:
    """What the executor says first."""
    said, status, complaint = spoken_to(b"")
    assert (said[-2:], status, complaint) == (b"\n\n", 0, "")
    return said.decode()


def test_the_greeting_is_understood(greeting: str) -> None:
    """All its records, and none that is not there."""
    told = [line.split()[1] for line in greeting.splitlines() if line.startswith("record")]
    assert tuple(told) == RECORDS
    assert Format(greeting, ["cuInit"]).number["ARGUMENTS_MAX"] == 8


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("call function:u16 thread:u8", "call thread:u8 function:u16", r"another one \(call\)"),
        ("record found size:u32", "record found size:u32 more:u32", r"another one \(found\)"),
        ("record descriptor number:i32 open:u8 text:u8\n", "", r"another one \(descriptor\)"),
        ("number MARK 90", "number MARK 91", r"another one \(MARK\)"),
        ("number NOWHERE 65535\n", "", r"another one \(NOWHERE\)"),
        ("number NOWHERE 65535", "number NOWHERE x", r"another one \('number NOWHERE x'\)"),
        ("number NOWHERE 65535", "Hello", r"another one \('Hello'\)"),
    ],
)
def test_another_format_is_refused(old: str, new: str, said: str, greeting: str) -> None:
    """Control: fields in another order, one more, a record less, another mark."""
    assert old in greeting
    with pytest.raises(ExecutorError, match=said):
        Format(greeting.replace(old, new), ["cuInit"])


@pytest.mark.parametrize(("ended", "argument"), [(0, 1), (99, 0)])
def test_an_answer_without_sense_is_told(ended: int, argument: int, greeting: str) -> None:
    """An example has written into the results: an end that is none, an output of an argument that is no memory."""
    words = Format(greeting, ["cuInit"])
    calls = (Call("cuInit", (Memory(4),)),)
    body = struct.pack("=QiHBB", 0, 7077, 0, 1, 0) + struct.pack("=BBHB", argument, 0, 1, 0) + b"x"
    header = struct.pack("=IIiIIIIIIII", len(body), ended, 0, 1, 1, 0, 0, 0, 0, 0, 0)
    with pytest.raises(ExecutorError, match="an answer makes no sense"):
        words.outcome(header, body, calls, {})
    sound = header[:4] + bytes(4) + header[8:]
    outcome = words.outcome(
        sound, body.replace(struct.pack("=BBHB", argument, 0, 1, 0), struct.pack("=BBHB", 0, 0, 1, 0)), calls, {}
    )
    assert outcome.results[0].outputs == (b"xZZZ",)


def test_a_peer_that_breaks_the_format_is_told(greeting: str) -> None:
    """The executor says what is wrong, and ends: nothing is called, and nothing crashes."""
    words = Format(greeting, ["cuInit"])
    known = words.request("FUNCTIONS", 1, b"cuInit\0")
    example = words.example([Call("cuInit", (Memory(8, b"abc"),))], 1.0)
    broken = {
        words.request("EXAMPLES", 1, example[:-1]): "an example is cut",
        words.request("EXAMPLES", 1, example): "a call is of no function",
        known + words.request("EXAMPLES", 2, example): "a record of the request is cut",
        known + words.request("EXAMPLES", 1, example + b"d"): "a request is longer than its examples",
        known
        + words.request("EXAMPLES", 1, example[:4] + bytes(4) + example[8:]): "an example is longer than its calls",
        known + words.request("FUNCTIONS", 1, b"cuInit"): "a text of the request does not end",
        words.request("VARIABLE", 1, b"name\0"): "a variable is not NAME=VALUE",
        b"\xff" * 12: "a request is longer than REQUEST_BYTES",
        bytes(12): "a request is of no kind",
    }
    for request, complaint in broken.items():
        _, status, said = spoken_to(request)
        assert (status, complaint in said) == (2, True), said


def test_a_wrong_command_line_is_told() -> None:
    """Without the number of a socket it says how it is used."""
    done = subprocess.run([client_path("vgpu-executor")], capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr.startswith("usage: vgpu-executor FD")) == (2, True)


def test_signatures_have_a_meaning_for_each_parameter() -> None:
    """All entry points, each kind of parameter, and some that are told apart by what stands beside them."""
    kinds = {name: tuple(p.kind for p in entry.parameters) for name, entry in signatures().items()}
    assert set(itertools.chain(*kinds.values())) == set(Kind)
    assert kinds["cuGetProcAddress"] == (Kind.STRING, Kind.OUT_HANDLE, Kind.NUMBER, Kind.NUMBER)
    assert kinds["nvmlDeviceGetName"] == (Kind.HANDLE, Kind.TEXT, Kind.NUMBER)
    assert kinds["cuDeviceGetByPCIBusId"] == (Kind.OUT_NUMBER, Kind.STRING)
    assert kinds["cuGetErrorName"] == (Kind.NUMBER, Kind.TEXT_AT)
    sizes = signatures()["cuDeviceTotalMem_v2"].parameters[0]
    assert (sizes.size, sizes.signed) == (8, False)
    assert [name for name, entry in signatures().items() if entry.returns_text] == ["nvmlErrorString"]
