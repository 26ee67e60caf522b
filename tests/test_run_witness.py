"""Who looks, by default, for programs that go past the shims, and what a run says where nobody can."""

import errno
import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.compile import compile_program

from vgpu_harness.errors import ProgramError
from vgpu_harness.host import Host, write_image, write_tree
from vgpu_harness.host.tree import Row
from vgpu_harness.run import Run, run
from vgpu_harness.run.bypass import Bypass
from vgpu_harness.run.notification import Notification, Supervised
from vgpu_harness.run.program import Program
from vgpu_harness.run.runner import NotMappedError
from vgpu_harness.run.started import Started
from vgpu_harness.run.witness import Watch, makes_own_calls

MISSING = "/sys/module/nvidia_uvm/initstate"
"""Of the default host; no machine without the driver has it."""

LOOK = r"""
/* Looks for a file. */
#include <fcntl.h>
int main(int argc, char **argv) {
#ifdef GO
    __asm__(".pushsection .note.go.buildid, \"a\", @note\n.long 4, 4, 4\n.ascii \"Go\\0\\0text\"\n.popsection\n");
#endif
    return argc == 2 && open(argv[1], O_RDONLY) < 0 ? 3 : 0;
}
"""


@pytest.fixture
def static() -> Path:
    """The looking program, without a dynamic linker."""
    return compile_program(LOOK, "looks-static", "-static")


def test_a_static_program_is_told_of_by_default(tmp_path: Path, static: Path) -> None:
    """It runs, and the run says that it went past the shims, also where the machine has no such file."""
    assert not Path(MISSING).exists()
    with pytest.raises(NotMappedError, match=rf"is a static program: .*; {MISSING}: bypassed: {static} \(process"):
        run([static, MISSING], directory=tmp_path / "checked", trace_size=1 << 20)
    done = run([static, MISSING], directory=tmp_path / "run", trace_size=1 << 20, check_mapped=False)
    assert done.returncode == 3
    (seen,) = done.bypassed
    assert seen == Bypass(MISSING, "notification", done.pid, str(static), seen.call, absent=True)
    assert f"bypassed: {static} (process {done.pid}) found no such file by open" in str(seen)
    assert (done.witness, done.blind) == ("notification", None)
    assert str(done.unmapped).startswith("is a static program")
    again = Run.load(tmp_path / "run")
    assert (again.bypassed, again.witness, again.blind) == (done.bypassed, "notification", None)
    with pytest.raises(ProgramError, match="is a static program"):
        run([static, MISSING], directory=tmp_path / "watch", observe_files="watch")
    words = [sys.executable, "-P", "-m", "vgpu_harness", "run", "--", str(static), MISSING]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stdout) == (125, "")
    assert f"{MISSING}: bypassed: {static}" in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_a_static_program_of_a_dynamic_one_is_told_of(tmp_path: Path, static: Path) -> None:
    """The shell is watched at no cost; what the shims are not in is said to bypass them, and what a watch misses."""
    done = run(["sh", "-c", f"{static} {MISSING}; :"], directory=tmp_path / "run", trace_size=1 << 20)
    (shimless,) = done.without_shims
    assert f"{static} (process {shimless.pid}) is a static program" in str(shimless)
    assert "its looks at files bypass the shims; link it dynamically, or use the provider" in str(shimless)
    assert (done.bypassed, done.findings, done.unmapped) == ((), (), None)
    assert done.witness in {"fanotify", "inotify"}
    assert "a watch sees nobody look for them" in str(done.blind)
    assert f"witness: {done.witness}; the machine has not " in done.explain()
    assert Run.load(tmp_path / "run").blind == done.blind
    alone = run(["true"], directory=tmp_path / "none", trace_size=1 << 20, observe_files="none")
    assert (alone.witness, alone.blind, alone.findings) == ("none", "nobody was to look for that", ())


def test_a_program_of_go_is_known(tmp_path: Path, static: Path) -> None:
    """By the note of its linker, in a dynamic program too, as with cgo; others ask libc."""
    dynamic, go = compile_program(LOOK, "looks"), compile_program(LOOK, "looks-go", "-DGO")
    answers = {
        path: makes_own_calls(Program(path, path, (), is_static))
        for path, is_static in ((dynamic, False), (go, False), (static, True), (tmp_path / "gone", False))
    }
    assert list(answers.values()) == [False, True, True, False]
    done = run([go, MISSING], directory=tmp_path / "run", trace_size=1 << 20)
    assert (done.witness, done.bypassed, done.unmapped, done.returncode) == ("notification", (), None, 0)


def make_image(place: Path) -> Path:
    """A host image, without files of the host."""
    return write_image(Host(), write_tree(Host(), place / "tree"), place / "host.image")


def test_without_notification_a_watch_takes_over(tmp_path: Path, static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has none, or the process has a listener already; and that is said."""
    image = make_image(tmp_path)
    program = Program(static, static, (), static=True)
    started = Started()
    started.launch([static.name], static, {}, Path("/"), own_session=False, streams={})
    first = Supervised(image)
    with Watch(image, "auto", program=program) as watch:
        assert (watch.witness, watch.enclosure is not None) == ("notification", True)
        first.waiting(started)
        assert watch.enclosure is not None
        watch.enclosure.waiting(started)
        assert watch.witness in {"fanotify", "inotify"}
    started.abandon()
    started.wait()
    first.finish()
    assert "there is no notification: Device or resource busy" in str(watch.finding)
    monkeypatch.setattr(Notification, "available", lambda _: "too old")
    with Watch(image, "auto", program=program) as watch:
        assert watch.enclosure is None
    assert str(watch.finding).startswith("programs that go past the shims may be unseen: ")
    assert str(watch.blind).endswith("there is no notification: too old")


def test_where_there_is_no_witness_the_run_says_so(
    tmp_path: Path, static: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither notification nor a watch: in its value, its summary and its findings, which the command line prints."""
    refusing = SimpleNamespace(vgpu_notify_real_files=lambda _: -errno.EMFILE, VGPU_READY=0)
    monkeypatch.setattr(importlib.import_module("vgpu_harness.run.bypass"), "lib", refusing)
    done = run(["true"], directory=tmp_path / "run", trace_size=1 << 20)
    assert (done.witness, done.blind) == ("none", "no watch is to be had: inotify: Too many open files")
    finding = f"programs that go past the shims may be unseen: {done.blind}; docs/providers.md has what a witness needs"
    assert finding in done.findings
    assert finding in Run.load(tmp_path / "run").findings
    monkeypatch.setattr(Notification, "available", lambda _: "too old")
    nobody = run([static], directory=tmp_path / "static", trace_size=1 << 20, check_mapped=False)
    assert nobody.blind == f"{done.blind}; there is no notification: too old"
    assert nobody.witness == "none"


def test_a_watch_says_what_it_does_not_see(tmp_path: Path) -> None:
    """Paths that the machine has not are counted; a machine that has all of them is seen whole."""
    (tmp_path / "there").write_text("x")
    image = make_image(tmp_path)
    rows = [Row(str(tmp_path / name), str(tmp_path / name), whole=True) for name in ("there", "gone")]
    with Watch(image, "inotify", rows) as watch:
        pass
    assert watch.blind == "the machine has not 1 of the paths, and a watch sees nobody look for them"
    assert (watch.witness, watch.finding) == ("inotify", None)
    with Watch(image, "inotify", rows[:1]) as watch:
        pass
    assert (watch.blind, watch.finding) == (None, None)
