"""The filter of the provider notification, and what a kernel without it is told."""

import errno

import pytest

from vgpu_harness._wire import ffi, lib
from vgpu_harness.run.notification import Notification


def test_a_kernel_without_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its version, or by what seccomp(2) answers."""
    provider = Notification()
    monkeypatch.setattr("platform.release", lambda: "6.1.0-18-amd64")
    assert provider.available() is None
    monkeypatch.setattr("platform.release", lambda: "5.13.0")
    assert "use Linux 5.14 or later" in str(provider.available())


def test_the_filter_leaves_other_calls_alone() -> None:
    """Run as the kernel would: files and the driver's requests are sent, the rest, and other architectures, are not."""
    room = ffi.new("char[]", 4096)
    assert lib.vgpu_notify_filter(room, 8, lib.VGPU_RINGS_ALLOWED, 0) == 0
    sent, allowed, refused = 0x7FC00000, 0x7FFF0000, 0x00050000 | errno.ENOSYS
    stopped = 0x7FF00000 | lib.VGPU_NOTIFY_ENTERS
    native, old = 0xC000003E, 0x40000003
    for rings, ring, stops, chdir in (
        (lib.VGPU_RINGS_ALLOWED, allowed, 0, sent), (lib.VGPU_RINGS_REFUSED, refused, 1, stopped),
        (lib.VGPU_RINGS_REPORTED, sent, 0, sent),
    ):  # fmt: skip
        program = bytes(ffi.buffer(room, lib.vgpu_notify_filter(room, 4096, rings, stops)))
        answers = {
            (number, request, arch): answer_of(program, number, request, arch)
            for number, request, arch in (
                (257, 0, native), (2, 0, native), (80, 0, native), (0, 0, native), (59, 0, native),
                (16, 0x5401, native), (16, 0xC00446C8, native), (425, 0, native), (257, 0, old),
                (0x40000000 | 257, 0, native),
            )
        }  # fmt: skip
        assert list(answers.values()) == [
            sent, sent, chdir, allowed, allowed, allowed, sent, ring, allowed, allowed
        ]  # fmt: skip


def answer_of(program: bytes, number: int, request: int, arch: int) -> int:
    """Runs a filter of the instructions that this one has, on struct seccomp_data (linux/seccomp.h)."""
    data = {0: number, 4: arch, 24: request}
    at = accumulator = 0
    while True:
        code, yes, no, value = (
            int.from_bytes(program[at : at + 2], "little"), program[at + 2], program[at + 3],
            int.from_bytes(program[at + 4 : at + 8], "little"),
        )  # fmt: skip
        at += 8
        if code == 0x20:
            accumulator = data[value]
        elif code == 0x74:
            accumulator >>= value
        elif code == 0x54:
            accumulator &= value
        elif code == 0x15:
            at += 8 * (yes if accumulator == value else no)
        elif code == 0x35:
            at += 8 * (yes if accumulator >= value else no)
        else:
            assert code == 0x06, f"instruction {code:#x}"
            return value
