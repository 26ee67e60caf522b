"""Discovery on a host whose only way to the shim is a wrapper of dlopen, as the shims of the past had one."""

from pathlib import Path
from typing import Any

import pytest
from support.controls import discovered

from vgpu_harness.host import Host

ALONE = {"preload": ["exec", "syscall"], "links": []}
HOW = {
    "a": "this client searches directories for a file, and calls dlopen for none",
    "b": "this client's libraries have libcuda.so.1 in DT_NEEDED",
    "c": 'dlopen("libcuda.so.1") was call ',
}


def host_with(**delivery: Any) -> Host:
    """A host of this delivery."""
    return Host.model_validate({"delivery": delivery})


@pytest.mark.parametrize("generation", "abc")
def test_a_wrapper_alone_is_found_out(generation: str, tmp_path: Path) -> None:
    """Discovery stops where the shim should arrive, and the verdict says how dlopen came to lead nowhere."""
    verdict = discovered(host_with(**ALONE, dlopen_wrapper=20), generation, tmp_path)
    assert (verdict.library, verdict.stopped_at) == ("cpu", "S0")
    assert "libvgpu-dlopen.so, which has a dlopen of its own, leads to no shim either: " in (verdict.cause or "")
    assert HOW[generation] in (verdict.cause or "")
    assert "Put libvgpu-cuda.so into LD_PRELOAD" in (verdict.remedy or "")
    (arrival,) = [stage for stage in verdict.stages if stage.stage == "S0"]
    assert any(line.endswith("libvgpu-dlopen.so exports dlopen") for line in arrival.evidence)
    if generation == "c":
        assert "and it passes the first 20 by" in (verdict.cause or "")


def test_without_a_wrapper_none_is_named(tmp_path: Path) -> None:
    """The same host without it stops at the same stage, with another cause."""
    verdict = discovered(host_with(**ALONE), "c", tmp_path)
    assert (verdict.library, verdict.stopped_at) == ("cpu", "S0")
    assert "dlopen" not in (verdict.cause or "")


def test_beside_preloaded_shims_nothing_is_lost(tmp_path: Path) -> None:
    """A SONAME leads to the shims, whatever a wrapper or a constructor does beside them: the host is sound."""
    verdict = discovered(host_with(dlopen_wrapper=20, init="constructor"), "c", tmp_path)
    assert (verdict.library, verdict.stopped_at, verdict.findings) == ("cuda", None, ())
