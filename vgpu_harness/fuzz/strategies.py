"""Hypothesis strategies for simulated hosts, facts of the process gate, and arguments of calls."""

from typing import Any

from hypothesis import strategies as st

from vgpu_harness.host import Driver, Gate, Gpu, Host

COMPUTES = ("7.5", "8.0", "8.6", "8.9", "9.0", "12.0")
"""Compute capabilities that both CUDA 12 and CUDA 13 builds of libggml-cuda.so of Ollama's releases contain."""

DRIVER_BRANCHES = (570, 575, 580, 590)
"""Driver branches of CUDA 12.8 to 13.1; older ones cannot run Ollama's CUDA 12.8 libraries."""

NAME_ALPHABET = "".join(map(chr, range(0x20, 0x7F))) + "éß漢"
"""Printable, with what a log has to quote (`"`, `\\`, `=`, a space) and with two- and three-byte UTF-8."""

COMM_BYTES = 15
"""TASK_COMM_LEN less the NUL: the kernel cuts a thread's name there."""

PROGRAMS = (
    "ollama", "ollama_llama_server", "llama-server", "python3", "pytest", "nvtop", "sshd", "sshd-session", "systemd",
    "systemd-udevd", "(sd-pam)", "lspci", "bash", "sh", "sudo", "a", "x" * 254,
)  # fmt: skip


def pci_addresses() -> st.SearchStrategy[str]:
    """Function 0 at any domain (16 bits), bus (8 bits) and device (5 bits), as ``0000:00:05.0``."""
    return st.builds(
        "{:04x}:{:02x}:{:02x}.0".format, st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F)
    )


def gpu_uuids() -> st.SearchStrategy[str]:
    """A GPU's UUID, any 16 bytes."""
    return st.uuids().map(lambda uuid: f"GPU-{uuid}")


def gpu_names() -> st.SearchStrategy[str]:
    """Product names of 1 to 95 bytes of UTF-8: what NVML's buffer of 96 holds."""
    return st.text(NAME_ALPHABET, min_size=1, max_size=95).filter(lambda name: len(name.encode()) <= 95)


@st.composite
def gpus(draw: st.DrawFn, pci: str, uuid: str) -> Gpu:
    """One GPU at a given place. Memory is 1 GiB to 1 TiB, at most half of it reserved or in use."""
    memory = draw(st.integers(1024, 1 << 20))
    return Gpu(
        pci=pci,
        uuid=uuid,
        name=draw(gpu_names()),
        compute=draw(st.sampled_from(COMPUTES)),
        memory_mib=memory,
        reserved_mib=draw(st.integers(0, memory // 4)),
        used_mib=draw(st.integers(0, memory // 4)),
    )


def drivers() -> st.SearchStrategy[Driver]:
    """A driver of branch 570 or later; the CUDA and NVML versions follow from it."""
    return st.builds(
        lambda branch, minor, patch: Driver(version=f"{branch}.{minor}.{patch:02}"),
        st.sampled_from(DRIVER_BRANCHES),
        st.integers(0, 299),
        st.integers(0, 99),
    )


@st.composite
def hosts(draw: st.DrawFn, max_gpus: int = 4, gate: Gate | None = None) -> Host:
    """A sound host: every discovery client finds all of its GPUs.

    Args:
        draw: given by Hypothesis.
        max_gpus: at most so many GPUs, 1 to 8.
        gate: the policy of the process gate; the default one where None.
    """
    count = draw(st.integers(1, max_gpus))
    places = draw(st.lists(pci_addresses(), min_size=count, max_size=count, unique=True))
    uuids = draw(st.lists(gpu_uuids(), min_size=count, max_size=count, unique=True))
    return Host(
        driver=draw(drivers()),
        gpu=tuple(draw(gpus(pci, uuid)) for pci, uuid in zip(places, uuids, strict=True)),
        gate=Gate() if gate is None else gate,
    )


def programs() -> st.SearchStrategy[str]:
    """File names of programs: well-known ones, and any without a slash or control character."""
    characters = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/*")
    return st.sampled_from(PROGRAMS) | st.text(characters, min_size=1, max_size=20)


@st.composite
def facts(draw: st.DrawFn) -> dict[str, Any]:
    """Facts of a process, as keyword arguments of the ``vgpu_gate`` fixture's calls.

    ``comm`` is what the kernel makes of some program's name: its first 15 bytes. ``exe`` is empty where /proc is not
    mounted.
    """
    exe = draw(st.just("") | programs())
    name = draw(st.just(exe) | programs())
    return {
        "exe": exe,
        "comm": name.encode()[:COMM_BYTES].decode(errors="ignore"),
        "secure": draw(st.booleans()),
        "libc_ready": draw(st.booleans()),
        "calls_before": draw(st.integers(0, 5) | st.integers(0, 2**32 - 1)),
    }


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    """A policy of the process gate; rules may end in ``*``."""
    rule = st.builds(str.__add__, programs().filter(lambda name: len(name) <= 254), st.sampled_from(("", "*")))
    rules = st.lists(rule, max_size=4, unique=True)
    return Gate(allow=tuple(draw(rules)), deny=tuple(draw(rules)), calls_before=draw(st.integers(0, 5)))


def ordinals() -> st.SearchStrategy[int]:
    """Device ordinals: those of hosts of up to four GPUs, the first beyond, and the ends of ``int``."""
    return st.integers(-1, 4) | st.sampled_from((2**31 - 1, -(2**31)))


def sizes() -> st.SearchStrategy[int]:
    """Bytes to allocate: none, a little, whole gibibytes, and more than any GPU has."""
    return st.integers(0, 1 << 20) | st.integers(1, 64).map(lambda gib: gib << 30) | st.just(1 << 50)


def buffer_lengths() -> st.SearchStrategy[int]:
    """Lengths of a caller's buffer for text, in bytes, around the documented ones (13, 64, 80, 96)."""
    return st.integers(0, 16) | st.sampled_from((32, 63, 64, 79, 80, 95, 96, 128))
