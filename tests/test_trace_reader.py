"""Reading what the C writer wrote: whole records, torn ones, full traces, several writers, foreign files."""

import os
import signal
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vgpu_harness._wire import ffi, lib
from vgpu_harness.errors import TraceError
from vgpu_harness.trace import MINIMUM_SIZE, Kind, Library, Trace, create_trace

HEADER, SLOT = lib.VGPU_TRACE_HEADER_SIZE, lib.VGPU_SLOT_SIZE


class Writer:
    """The C writer on one trace file."""

    def __init__(self, path: Path) -> None:
        self._trace = ffi.new("struct vgpu_trace *")
        assert lib.vgpu_trace_open(self._trace, os.fsencode(path)) == 0

    def write(self, name: str = "", text: str | bytes = "", **fields: Any) -> None:
        """One record, a CALL of the CUDA shim unless told otherwise."""
        words = [ffi.new("char[]", os.fsencode(word)) for word in (name, text)]
        event = {"kind": lib.VGPU_RECORD_CALL, "library": lib.VGPU_LIBRARY_CUDA} | fields
        event |= {"in": event.pop("in_", [])}
        lib.vgpu_trace_write(self._trace, ffi.new("struct vgpu_event *", event | {"name": words[0], "text": words[1]}))

    def close(self) -> None:
        """Unmaps the file."""
        lib.vgpu_trace_close(self._trace)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty trace of a thousand slots."""
    return create_trace(tmp_path / "trace", HEADER + 1000 * SLOT)


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    """The C writer on it."""
    made = Writer(path)
    yield made
    made.close()


def poke(path: Path, offset: int, data: bytes) -> None:
    """Overwrites bytes of the file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def in_child(work: Callable[[], None]) -> int:
    """Forks, does `work` in the child, and answers its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def test_a_record_comes_back_as_it_was_written(path: Path, writer: Writer) -> None:
    """Every field that the writer is given, and those that it asks the kernel for, are read."""
    before = time.monotonic_ns()
    writer.write(
        "cuDeviceGet", "0000:00:05.0", in_=[7, 2**64 - 1], inputs=2, out=[5], outputs=1, result=-3, caller=0x7F00,
        flags=lib.VGPU_RECORD_FAULTED,
    )  # fmt: skip
    (record,) = Trace.open(path).records
    assert (record.kind, record.library) == (Kind.CALL, Library.CUDA)
    assert (record.name, record.text) == ("cuDeviceGet", "0000:00:05.0")
    assert (record.inputs, record.outputs, record.result, record.caller) == ((7, 2**64 - 1), (5,), -3, 0x7F00)
    assert (record.faulted, record.cut) == (True, False)
    assert (record.pid, record.tid, record.parent) == (os.getpid(), os.getpid(), os.getppid())
    assert before <= record.time_ns <= time.monotonic_ns()


@pytest.mark.parametrize("length", [0, 1, 37, 38, 39, 157, 158, 159, 278, 4095])
def test_texts_of_every_length_are_whole(path: Path, writer: Writer, length: int) -> None:
    """Around each slot's boundary no byte is lost, and the record after it is found."""
    text = "".join(chr(97 + i % 26) for i in range(length))
    writer.write("a", text)
    writer.write("next")
    trace = Trace.open(path)
    assert [(record.name, record.text, record.cut) for record in trace] == [("a", text, False), ("next", "", False)]
    assert trace.torn == 0


def test_a_text_that_is_too_long_is_cut_and_flagged(path: Path, writer: Writer) -> None:
    """What does not fit 36 slots is cut at the end, and says so."""
    writer.write("n", "x" * 10000)
    (record,) = Trace.open(path).records
    assert record.cut
    assert record.text == "x" * len(record.text)
    assert len(record.text) == 40 + 35 * 120 - len("n") - 2


def test_bytes_that_are_not_text_are_shown_escaped(path: Path, writer: Writer) -> None:
    """A path may hold any byte."""
    writer.write("open", b"/tmp/\xff\xfe")
    assert Trace.open(path).records[0].text == "/tmp/\\xff\\xfe"


def test_kinds_and_libraries_of_a_newer_writer_have_their_number(path: Path, writer: Writer) -> None:
    """A value that this version does not know is read and named by its number."""
    writer.write("x", kind=99, library=77)
    (record,) = Trace.open(path).records
    assert (record.kind, record.kind.name, record.library, record.library.name) == (99, "KIND_99", 77, "LIBRARY_77")


@pytest.mark.parametrize("state", [lib.VGPU_SLOT_FREE, lib.VGPU_SLOT_BEGUN])
@pytest.mark.parametrize("text", ["short", "long" * 60])
def test_a_record_of_a_killed_writer_is_torn_alone(path: Path, writer: Writer, state: int, text: str) -> None:
    """A slot that was taken and not finished is counted; the records around it are whole."""
    writer.write("before")
    writer.write("killed", text)
    writer.write("after")
    slots = 1 if text == "short" else 3
    if state == lib.VGPU_SLOT_FREE:
        poke(path, HEADER + SLOT, bytes(SLOT * slots))
    else:
        poke(path, HEADER + SLOT, struct.pack("<I", state))
    trace = Trace.open(path)
    assert [record.name for record in trace] == ["before", "after"]
    assert trace.torn == (slots if state == lib.VGPU_SLOT_FREE else 1)


def test_a_slot_that_strayed_is_no_record(path: Path, writer: Writer) -> None:
    """A record whose slot number is not its own is damage, counted as torn."""
    writer.write("one")
    writer.write("two")
    poke(path, HEADER + SLOT + ffi.offsetof("struct vgpu_record", "index"), struct.pack("<I", 9))
    trace = Trace.open(path)
    assert ([record.name for record in trace], trace.torn) == (["one"], 1)


def test_a_full_trace_counts_what_it_drops(tmp_path: Path) -> None:
    """What found no room is counted as dropped, the slots left at the end are not torn, what is there is whole."""
    path = create_trace(tmp_path / "trace", MINIMUM_SIZE)
    writer = Writer(path)
    capacity = Trace.open(path).capacity
    for i in range(capacity - 1):
        writer.write(f"n{i}")
    assert Trace.open(path).dropped == 0
    writer.write("long", "x" * 200)
    writer.write("late")
    trace = Trace.open(path)
    assert (trace.dropped, trace.torn, trace.used, len(trace)) == (2, 0, capacity, capacity - 1)
    writer.close()


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    """Four processes' records are all there, none mixed up with another's."""
    path = create_trace(tmp_path / "trace", 1 << 20)
    count = 500

    def work() -> None:
        writer = Writer(path)
        me = os.getpid()
        for i in range(count):
            writer.write(f"{me}", f"{me}-{i}-" + "y" * (i % 150), in_=[i], inputs=1)

    pids = [in_child(work) for _ in range(4)]
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    trace = Trace.open(path)
    assert (trace.torn, trace.dropped) == (0, 0)
    assert Counter(record.pid for record in trace) == dict.fromkeys(pids, count)
    for record in trace:
        i = record.inputs[0]
        assert (record.name, record.text) == (f"{record.pid}", f"{record.pid}-{i}-" + "y" * (i % 150))


def test_what_was_written_survives_sigkill(tmp_path: Path) -> None:
    """A writer that is killed in the middle leaves all it has finished; at most one record is torn."""
    path = create_trace(tmp_path / "trace", 4 << 20)

    def work() -> None:
        writer = Writer(path)
        for i in range(100_000):
            writer.write("cuInit", "z" * 100, in_=[i], inputs=1)

    pid = in_child(work)
    deadline = time.monotonic() + 20
    while Trace.open(path).used < 200 and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    trace = Trace.open(path)
    assert len(trace) >= 100
    # A killed writer may leave two slots that it took and had not begun.
    assert trace.torn <= 2
    assert [record.inputs[0] for record in trace] == list(range(len(trace)))


def test_callers_are_resolved_to_mapped_objects(path: Path, writer: Writer) -> None:
    """A return address is of the object below it, of this program at that time, or of a forked child's parent."""

    def mapped(text: str, address: int) -> None:
        writer.write("", text, kind=lib.VGPU_RECORD_MAPPED, library=lib.VGPU_LIBRARY_AUDIT, in_=[address], inputs=1)

    mapped("/bin/old", 0x7000)
    mapped("/lib64/ld-linux-x86-64.so.2", 0x9000)
    writer.write("first", caller=0x7500)
    mapped("/bin/new", 0x1000)
    mapped("/lib64/ld-linux-x86-64.so.2", 0x5000)
    mapped("/lib/libggml-cuda.so", 0x3000)
    writer.write("second", caller=0x3500)
    writer.write("third", caller=0x7500)
    writer.write("fourth", caller=0x10)
    writer.write("fifth")
    pid = in_child(lambda: writer.write("sixth", caller=0x1500))
    os.waitpid(pid, 0)
    trace = Trace.open(path)
    found = {record.name: trace.object_of(record) for record in trace if record.kind == Kind.CALL}
    assert found == {
        "first": "/bin/old",
        "second": "/lib/libggml-cuda.so",
        "third": "/lib64/ld-linux-x86-64.so.2",
        "fourth": None,
        "fifth": None,
        "sixth": "/bin/new",
    }


def test_many_records_are_read_in_time(tmp_path: Path) -> None:
    """A hundred thousand records are read at a rate that reads a full default trace in a few seconds."""
    path = create_trace(tmp_path / "trace", 16 << 20)
    writer = Writer(path)
    for i in range(100_000):
        writer.write("cuDeviceGetAttribute", in_=[i], inputs=1)
    writer.close()
    started = time.process_time()
    assert len(Trace.open(path)) == 100_000
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.write_bytes(b""), "is not a trace"),
        (lambda path: path.write_bytes(b"VGPUTRCE" + bytes(100)), "truncated: 108 bytes"),
        (lambda path: os.truncate(path, HEADER + 10 * SLOT), "truncated: 5376 bytes, where 1000 slots need 132096"),
        (lambda path: poke(path, 0, b"NOTTRACE"), "is not a trace"),
        (lambda path: poke(path, 8, struct.pack("<I", 2)), "version 2, this vgpu-harness reads 1 to 1; read it with"),
        (lambda path: poke(path, 8, struct.pack("<I", 0)), "version 0"),
        (lambda path: poke(path, 12, struct.pack("<I", 64)), "slots of 64 bytes"),
        (lambda path: path.unlink(), "No such file or directory; give a trace file"),
    ],
)
def test_what_is_no_trace_is_named(path: Path, writer: Writer, spoil: Callable[[Path], object], problem: str) -> None:
    """A foreign, cut, damaged, newer or missing file is one error with path, reason and remedy."""
    writer.write("x")
    assert len(Trace.open(path)) == 1
    writer.close()
    spoil(path)
    with pytest.raises(TraceError, match=problem) as caught:
        Trace.open(path)
    assert str(path) in str(caught.value)


def test_the_directory_of_a_run_stands_for_its_trace(path: Path, writer: Writer) -> None:
    """A run's directory is taken for the trace in it."""
    writer.write("x")
    assert Trace.open(path.parent).path == path
    assert len(Trace.open(path.parent)) == 1
