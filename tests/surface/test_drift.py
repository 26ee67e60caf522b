"""What `nox -s newest` says of headers that are newer than the shims."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from headers import FOLDERS

HERE = Path(__file__).parent
ADDED = {
    "cuda.h": [
        (r"(?m)^ *CUDA_ERROR_UNKNOWN +=", "CUDA_ERROR_DRIFTED = 998,\n"),
        (r"(?m)^ *CU_DEVICE_ATTRIBUTE_MAX\b", "CU_DEVICE_ATTRIBUTE_DRIFTED = 1000,\n"),
        (r"(?m)^CUresult CUDAAPI cuInit\(", "CUresult CUDAAPI cuDrifted(int drifted);\n"),
    ],
    "cudaTypedefs.h": [
        (
            r"(?m)^typedef CUresult \(CUDAAPI \*PFN_cuInit_v2000\)",
            "typedef CUresult (CUDAAPI *PFN_cuDrifted_v13990)(int);\n",
        )
    ],
    "nvml.h": [
        (r"(?m)^ *NVML_ERROR_UNKNOWN +=", "NVML_ERROR_DRIFTED = 998,\n"),
        (r"(?m)^nvmlReturn_t DECLDIR nvmlInit_v2\(", "nvmlReturn_t DECLDIR nvmlDrifted(int drifted);\n"),
    ],
}
"""By header: before what something is put, and what."""


@pytest.fixture
def drifted(tmp_path: Path) -> Path:
    """The newest headers with a function, a step, a result code and an attribute more."""
    folder = tmp_path / "headers"
    shutil.copytree(os.environ[FOLDERS["newest"]], folder, copy_function=os.symlink)
    for name, additions in ADDED.items():
        for header in folder.rglob(name):
            text = header.read_text()
            header.unlink()
            for before, more in additions:
                text, times = re.subn(before, lambda found, more=more: more + found[0], text)
                assert times == 1, f"{header}: {before} was found {times} times"
            header.write_text(text)
    return folder


def failures(newest: Path) -> dict[str, str]:
    """What the tests of names, steps and values say of those headers: the text of each that fails."""
    files = [str(HERE / f"test_{name}.py") for name in ("names", "steps", "values")]
    done = subprocess.run(
        [
            sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", f"--confcutdir={HERE}", "-vv",
            "-k", "newest or other_step", *files,
        ],
        env={**os.environ, FOLDERS["newest"]: str(newest)}, text=True, check=False, capture_output=True, timeout=300,
    )  # fmt: skip
    assert re.search(r"\d passed", done.stdout), done.stdout + done.stderr
    parts = re.split(r"(?m)^_+ (test_\w+)(?:\[.*\])? _+$", done.stdout)
    found: dict[str, str] = {}
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        found[name] = found.get(name, "") + text
    return found


def test_newer_headers_fail_by_the_name_of_what_is_new(drifted):
    """Each addition is in the message of the test that it concerns, and nothing else fails."""
    said = failures(drifted)
    assert said.keys() == {
        "test_every_function_of_the_header_is_in_the_list", "test_every_step_is_in_the_table",
        "test_the_table_has_no_other_step",
        "test_result_codes_are_the_headers", "test_device_attributes_are_the_headers",
    }  # fmt: skip
    for name in ("cuDrifted", "nvmlDrifted"):
        assert name in said["test_every_function_of_the_header_is_in_the_list"]
    for name in ("CUDA_ERROR_DRIFTED", "NVML_ERROR_DRIFTED"):
        assert name in said["test_result_codes_are_the_headers"]
    for name in ("test_every_step_is_in_the_table", "test_the_table_has_no_other_step"):
        assert "cuDrifted" in said[name]
    assert "'DRIFTED': 1000" in said["test_device_attributes_are_the_headers"]


def test_the_headers_of_today_fail_nowhere():
    """The control: the same run over the headers as they are."""
    assert failures(Path(os.environ[FOLDERS["newest"]])) == {}
