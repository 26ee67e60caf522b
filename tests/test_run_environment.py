"""The environment of a run: what is in it, and what is not."""

import os
from pathlib import Path

import pytest

from vgpu_harness.errors import RunError
from vgpu_harness.run.environment import build_environment, compose_preload, kept


@pytest.fixture(autouse=True)
def _noisy_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own environment, with things in it that must not reach a run."""
    noise = {
        "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "LC_TIME": "C", "TERM": "xterm", "TZ": "UTC",
        "SECRET_TOKEN": "x",
        "LD_PRELOAD": "/noise.so", "LD_LIBRARY_PATH": "/noise", "LD_AUDIT": "/noise-audit.so",
        "CUDA_VISIBLE_DEVICES": "",
        "NVIDIA_VISIBLE_DEVICES": "none", "OLLAMA_DEBUG": "2", "GGML_BACKEND_PATH": "/x", "VGPU_HOST": "/other",
        "PYTHONPATH": "/x", "HOME": "/root",
    }  # fmt: skip
    for name in list(os.environ):
        if name.startswith("LC_"):
            monkeypatch.delenv(name)
    for name, value in noise.items():
        monkeypatch.setenv(name, value)


def test_it_is_built_not_inherited() -> None:
    """A few harmless variables come from this process; of the rest nothing does."""
    assert build_environment(Path("/run/x")) == {
        "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "LC_TIME": "C", "TERM": "xterm", "TZ": "UTC",
        "HOME": "/run/x/home", "TMPDIR": "/run/x/tmp",
    }  # fmt: skip


def test_the_lists_of_libraries_are_put_together() -> None:
    """The harness's entries stand in order, before those that were passed in; both lists of ld.so and the folders."""
    built = build_environment(
        Path("/run/x"),
        host_image=Path("/run/x/host.image"),
        trace=Path("/run/x/trace"),
        preload=["/a.so", "/b.so"],
        audit=["/audit.so"],
        library_path=["/lib/x"],
        extra={"LD_PRELOAD": "/mine.so", "LD_LIBRARY_PATH": "/mine", "CUDA_VISIBLE_DEVICES": "0", "HOME": "/h"},
    )
    assert built["LD_PRELOAD"] == "/a.so:/b.so:/mine.so"
    assert built["LD_AUDIT"] == "/audit.so"
    assert built["LD_LIBRARY_PATH"] == "/lib/x:/mine"
    assert (built["VGPU_HOST"], built["VGPU_TRACE"]) == ("/run/x/host.image", "/run/x/trace")
    assert (built["CUDA_VISIBLE_DEVICES"], built["HOME"]) == ("0", "/h")


def test_an_auditor_comes_with_room_for_thread_local_storage() -> None:
    """ld.so is given room for what jemalloc and its like need beside an auditor, unless the caller says otherwise."""
    assert "optional_static_tls" in build_environment(Path("/run/x"), audit=["/audit.so"])["GLIBC_TUNABLES"]
    assert "GLIBC_TUNABLES" not in build_environment(Path("/run/x"))
    own = build_environment(Path("/run/x"), audit=["/audit.so"], extra={"GLIBC_TUNABLES": "glibc.malloc.check=1"})
    assert own["GLIBC_TUNABLES"] == "glibc.malloc.check=1"


@pytest.mark.parametrize("path", ["/my libs/a.so", "/c:/a.so", " ", "a:"])
@pytest.mark.parametrize("where", ["preload", "audit"])
def test_a_path_that_ld_so_would_split_is_refused(path: str, where: str) -> None:
    """A space or a colon in an entry is one message that names the path and what to do."""
    with pytest.raises(
        RunError, match=r"ld\.so splits LD_PRELOAD at spaces and colons.*use a path without them"
    ) as caught:
        build_environment(Path("/run/x"), **{where: ["/fine.so", path]})  # type: ignore[arg-type]
    assert repr(path) in str(caught.value)
    assert compose_preload(["/fine.so"]) == "/fine.so"


@pytest.mark.parametrize("path", ["/a:b", "/a;b"])
def test_a_folder_that_ld_so_would_split_is_refused(path: str) -> None:
    """LD_LIBRARY_PATH is split at colons and semicolons; a space is fine there."""
    with pytest.raises(RunError, match="LD_LIBRARY_PATH"):
        build_environment(Path("/x"), library_path=[path])
    assert build_environment(Path("/x"), library_path=["/a b"])["LD_LIBRARY_PATH"] == "/a b"


@pytest.mark.parametrize("extra", [{"VGPU_HOST": "/x"}, {"VGPU_TRACE": "/x"}, {"A=B": "c"}, {"": "c"}, {"A": "b\0"}])
def test_variables_that_cannot_be_set_are_refused(extra: dict[str, str]) -> None:
    """The two that lead the shims are the harness's; names and values must be possible at all."""
    with pytest.raises(RunError):
        build_environment(Path("/x"), extra=extra)


def test_reports_keep_only_what_may_be_seen() -> None:
    """Secrets, HOME and PATH stay out of what is written into reports."""
    everything = {
        "LD_PRELOAD": "1", "CUDA_X": "2", "NVIDIA_X": "3", "OLLAMA_X": "4", "GGML_X": "5", "VGPU_HOST": "6",
        "HOME": "h", "PATH": "p", "AWS_SECRET": "s", "MY_LD_": "n",
    }  # fmt: skip
    assert kept(everything) == {name: value for name, value in everything.items() if value.isdecimal()}
