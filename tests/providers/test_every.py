"""Every path of the tree by every way, under the providers that need more than a preloaded library.

What a provider cannot show right is listed here with its reason; the test fails for each difference more, and for each
that is listed and mended.
"""

import os
from pathlib import Path

import pytest
from support.every import answers, disagreements, every_path, write_list
from test_syscall_every import REAL, SYSTEMS, World, make_machine, system_of, world, wrong  # noqa: F401

from vgpu_harness.run import run
from vgpu_harness.run.provider import ProviderName

MOUNTED = "what is mounted is a tmpfs with the tree, and the kernel says so: numbers, sizes, times, file system"
UNREADABLE = "a tmpfs lets root read what nobody may read; sysfs does not"
STANDS_IN = "the machine's entries of a merged directory are links there, and the kernel's listing says so"
READ = "reading the regular file that stands for a device notes the time; a device does not"
NO_ATTRIBUTES = "the descriptor is one of the tree's file system, which has attributes; procfs has none"

DISAGREE: dict[ProviderName, dict[tuple[str, str, str], str]] = {
    "namespace": {
        ("list", "fts_children", "dev"): STANDS_IN,
        ("list", "glob", "dev"): STANDS_IN,
        ("stat", "fstat", "dev"): READ,
        ("stat", "fstat64", "dev"): READ,
    },
    "notification": {
        ("list", "fts_children", "dev"): STANDS_IN,
        ("list", "fts_children", "sys"): STANDS_IN,
        ("list", "glob", "dev"): STANDS_IN,
        ("list", "glob", "sys"): STANDS_IN,
        ("xattr", "fgetxattr", "proc"): NO_ATTRIBUTES,
    },
}
"""(what is told, way, file system) -> why that way says something else than the others of the same path."""

WRONG: dict[ProviderName, dict[tuple[str, str], str]] = {
    "namespace": {
        **{(what, system): MOUNTED for what in ("lstat", "times", "file system") for system in SYSTEMS},
        **({("bytes", "sys"): UNREADABLE} if os.geteuid() == 0 else {}),
        ("types", "dev"): STANDS_IN,
        ("types", "sys"): STANDS_IN,
    },
    "notification": {("types", "dev"): STANDS_IN, ("types", "sys"): STANDS_IN},
}
"""(what is told, file system) -> why it is not as on the host."""


@pytest.mark.parametrize("provider", ["namespace", "notification"])
def test_differences_are_the_known_ones(world: World, tmp_path: Path, provider: ProviderName) -> None:  # noqa: F811
    """All ways agree, and what they say is the host's, but for what is listed with its reason."""
    tops = [*REAL.values(), *(f"/{system}" for system in SYSTEMS)]
    mounts = answers(world.ask("main", shim=False, paths=tops))
    # A kernel without modules has no /proc/modules, and nothing can be mounted there.
    paths = {path for path in world.paths if path != "/proc/modules" or Path(path).exists()}
    argv = [every_path(), "main", write_list(tmp_path / "list", paths)]
    done = run(argv, host=world.host, directory=tmp_path / "run", provider=provider, trace_size=1 << 20)
    assert (done.returncode, done.stderr) == (0, "")
    told = answers(done.stdout)
    assert set(told) == paths

    assert {(kind, way, system_of(path)) for kind, way, path in disagreements(told)} == set(DISAGREE[provider])
    assert {(what, system_of(path)) for what, path in wrong(world, told, mounts)} == set(WRONG[provider])
