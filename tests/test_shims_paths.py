"""Where the built libraries are found, and whether they are of the sources of the checkout."""

import os
import re
import shutil
from pathlib import Path

import pytest

import vgpu_harness
from vgpu_harness.errors import ShimError
from vgpu_harness.shims import SHIMS, available, build, client_path, shim_path
from vgpu_harness.shims.build import build_id, check_fresh
from vgpu_harness.shims.elf import read_elf
from vgpu_harness.shims.paths import CUDALIBS, cudalib_path

CSRC = Path(__file__).resolve().parent.parent / "csrc"
SONAMES = {"cuda": "libcuda.so.1", "nvml": "libnvidia-ml.so.1"}


def test_the_built_shims_are_found() -> None:
    """Each is an existing file under its final name, and stands in the order in which it is preloaded."""
    found = available()
    assert {"syscall", "cuda", "nvml", "audit"} <= set(found)
    assert list(found) == [name for name in SHIMS if name in found]
    for name, path in found.items():
        assert path == shim_path(name)
        assert path.is_file()
        assert path.name == f"libvgpu-{name}.so"


@pytest.mark.parametrize(("name", "soname"), SONAMES.items())
def test_the_driver_shims_have_the_driver_sonames(name: str, soname: str) -> None:
    """A preloaded file satisfies dlopen of a name by its DT_SONAME, not by its file name."""
    assert read_elf(shim_path(name)).soname == soname


@pytest.mark.parametrize("name", CUDALIBS)
def test_the_cuda_stand_ins_are_found(name: str) -> None:
    """Each is a file under its final name, which is its DT_SONAME, in a directory without any other library."""
    path = cudalib_path(name)
    assert (path.name, read_elf(path).soname) == (name, name)
    assert {entry.name for entry in path.parent.iterdir()} == set(CUDALIBS)


def test_an_unknown_cuda_stand_in_is_an_error() -> None:
    """The error lists those that there are."""
    with pytest.raises(
        ShimError, match=re.escape("'libcufft.so.12': there is no stand-in for this library; known are")
    ):
        cudalib_path("libcufft.so.12")


def test_the_auditor_needs_no_library() -> None:
    """The dynamic linker would map a second libc for an auditor that needs one."""
    assert read_elf(shim_path("audit")).needed == ()


def test_an_unknown_shim_is_an_error_that_lists_the_known() -> None:
    """A short name that is not one is said so."""
    with pytest.raises(ShimError, match=re.escape("'cudo': is not the short name of a shim; known are exec, syscall")):
        shim_path("cudo")


def test_a_shim_that_is_not_installed_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the built files every question names the file and how to build it."""
    monkeypatch.setattr("vgpu_harness.shims.paths.files", lambda _: tmp_path)
    monkeypatch.setattr(vgpu_harness, "__path__", [str(tmp_path)])
    assert available() == {}
    with pytest.raises(ShimError, match=r"libvgpu-cuda\.so: is not in this installation .*; build it"):
        shim_path("cuda")
    with pytest.raises(ShimError, match="libexec/ollama-a"):
        client_path("ollama-a")


def test_the_second_tree_of_an_editable_install_is_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The sources lie in one tree, what was built in another; both are in the package's path."""
    built = tmp_path / "built"
    (built / "lib").mkdir(parents=True)
    shutil.copy(shim_path("audit"), built / "lib")
    monkeypatch.setattr("vgpu_harness.shims.paths.files", lambda _: tmp_path / "sources")
    monkeypatch.setattr(vgpu_harness, "__path__", [str(tmp_path / "sources"), str(built)])
    assert shim_path("audit") == built / "lib" / "libvgpu-audit.so"


def test_a_changed_checkout_is_noticed(tmp_path: Path) -> None:
    """Other sources than those of the build have another hash, and the error says what to do."""
    csrc = shutil.copytree(CSRC, tmp_path / "checkout" / "csrc", ignore=shutil.ignore_patterns("__pycache__"))
    source = csrc / "vgpu" / "wire.h"
    source.write_text(source.read_text() + "\n/* changed */\n")
    with pytest.raises(ShimError, match=f"changed since the shims were built .*shims {build_id()}.*; rebuild them"):
        check_fresh(csrc)


def test_sources_that_have_not_changed_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look at a folder only asks for the times of its files."""
    check_fresh(CSRC)
    monkeypatch.setattr("runpy.run_path", lambda path: pytest.fail(f"{path} is run again"))
    check_fresh(CSRC)


@pytest.mark.parametrize("settled", [build._SETTLED_NS, -(10**18)], ids=["young", "remembered"])
def test_a_change_that_leaves_size_and_time_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settled: int
) -> None:
    """By the time of the inode's change; and files that are too young for their times to tell are read again."""
    monkeypatch.setattr(build, "_SETTLED_NS", settled)
    csrc = shutil.copytree(CSRC, tmp_path / "csrc", ignore=shutil.ignore_patterns("__pycache__"))
    check_fresh(csrc)
    assert (csrc in build._hashed) == (settled < 0)
    source = csrc / "vgpu" / "wire.h"
    before = source.stat()
    source.write_text(source.read_text().replace("the", "teh", 1))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ShimError, match="changed since the shims were built"):
        check_fresh(csrc)


def test_an_installation_without_sources_is_fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wheel has no csrc/ beside it; there is nothing to compare."""
    monkeypatch.setattr(vgpu_harness, "__path__", [str(tmp_path)])
    check_fresh()
