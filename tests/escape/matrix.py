"""Runs the probe program under a provider, and for control in a directory where the files are real."""

import contextlib
import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vgpu_harness.host import Gate, Gpu, Host, write_tree
from vgpu_harness.run import run
from vgpu_harness.run.provider import ProviderName
from vgpu_harness.shims import client_path

MINOR = 99
"""Of the GPU: a machine with a real NVIDIA driver has no /dev/nvidia99."""

HOST = Host(gpu=(Gpu(minor=MINOR),), gate=Gate(deny=()))
"""What is looked at. The programs that a probe starts are let through the gate, whatever their names are."""

ADDRESS, VENDOR = "0000:00:05.0", "0x10de"
_DEVICE = f"/dev/nvidia{MINOR}:195:{MINOR}"
_OUTCOMES = {"returned": None, "crashed": "crashed", "hung": "hung", "unavailable": "unavailable"}


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one probe.

    Attributes:
        group: the ways it belongs to.
        probe: its name.
        outcome: "right": the GPU was seen, with names and metadata of a real host; "differs": it was seen, something
            about it is not as on a real host; "escapes": it was not seen; "crashed", "hung": the probe's process did;
            "unavailable": this machine has no such function or system call.
        text: what was seen instead.
    """

    group: str
    probe: str
    outcome: str
    text: str = ""


Results = dict[str, Result]
"""By the probe's name."""


def _result(record: dict[str, Any]) -> Result:
    outcome = _OUTCOMES[record["end"]]
    if outcome is None:
        outcome = "right" if record["right"] else "differs" if record["seen"] else "escapes"
    return Result(record["group"], record["probe"], outcome, record["text"])


def _read(output: str) -> Results:
    results = [_result(json.loads(line)) for line in output.splitlines()]
    assert len({result.probe for result in results}) == len(results), "two probes have the same name"
    return {result.probe: result for result in results}


def listed() -> dict[str, str]:
    """The group of each probe, by its name, in the order of the program."""
    output = subprocess.run(
        [client_path("vgpu-escape"), "--list"], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    return {record["probe"]: record["group"] for record in map(json.loads, output.splitlines())}


@contextlib.contextmanager
def _usual_umask() -> Iterator[None]:
    """Directories of a tree have the rights that this process leaves them; a probe looks at those."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def under(
    provider: ProviderName, directory: Path, *, host: Host = HOST, options: Sequence[str] = (), audit: bool = True
) -> Results:
    """The results on the simulated host.

    Args:
        provider: who shows the virtual files.
        directory: for the files of the run.
        host: another host than the usual one.
        options: of the probe program, on top of the usual ones.
        audit: with the auditor, which leads look-ups back that go past the shims.
    """
    words = [str(client_path("vgpu-escape")), "--device", _DEVICE, *options, ADDRESS, VENDOR]
    with _usual_umask():
        done = run(words, host, directory=directory, timeout=120, provider=provider, audit=audit)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return _read(done.stdout)


def _without_shims(directory: Path, *options: str) -> Results:
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TMPDIR": str(directory)}
    done = subprocess.run(
        [client_path("vgpu-escape"), *options, ADDRESS, VENDOR], env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return _read(done.stdout)


def without_provider(directory: Path) -> Results:
    """The results where nothing shows a virtual GPU. Temporary files go to `directory`."""
    return _without_shims(directory, "--device", _DEVICE)


def where_files_are_real(directory: Path) -> Results:
    """The results in a directory that is laid out as the simulated host, without any shim: all must be right.

    Args:
        directory: an empty one that every user may enter; the probe drops root's rights for one way.
    """
    machine, root = directory / "machine", directory / "root"
    with _usual_umask():
        machine.mkdir()
        write_tree(HOST, root, machine=str(machine))
    size = (root / f"sys/bus/pci/devices/{ADDRESS}/vendor").stat().st_size
    null = Path("/dev/null").stat().st_rdev
    device = f"/dev/null:{os.major(null)}:{os.minor(null)}"
    return _without_shims(directory, "--root", str(root), "--device", device, "--size", str(size))
