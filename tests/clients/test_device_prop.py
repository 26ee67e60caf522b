"""The structs of this project's CUDA runtime stand-ins, compared with NVIDIA's headers by the compiler."""

import subprocess
from pathlib import Path

import foreign
import pytest
from support.compile import compile_program

PROGRAM = Path(__file__).parent / "layout.c"
CSRC = Path(__file__).parents[2] / "csrc"

both = pytest.mark.parametrize("major", [12, 13])


def printed(major: int, nvidia: int | None) -> list[str]:
    """What layout.c prints for a major version, by NVIDIA's headers of version `nvidia` or by our own."""
    # -isystem: NVIDIA's headers are not for the warnings of this project.
    theirs = [] if nvidia is None else ["-DNVIDIA", *(f"-isystem{path}" for path in foreign.cuda_headers(nvidia))]
    program = compile_program(PROGRAM.read_text(), "layout", f"-DCUDART_MAJOR={major}", f"-I{CSRC}", *theirs)
    done = subprocess.run([program], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.splitlines()


@both
def test_layout_is_that_of_nvidias_headers(major: int) -> None:
    """Every field stands where NVIDIA's header of the same major version has it, and every code has its number."""
    assert printed(major, None) == printed(major, nvidia=major)


def test_the_two_layouts_differ() -> None:
    """13.0 moved fields of cudaDeviceProp: a stand-in with the layout of the other major version would be seen."""
    ours, theirs = printed(12, None), printed(13, nvidia=13)
    place = "struct cudaDeviceProp.pciBusID "
    assert [line for line in ours if line.startswith(place)] != [line for line in theirs if line.startswith(place)]
    assert "struct cudaDeviceProp 1032" in ours
    assert "struct cudaDeviceProp 1008" in theirs


def test_a_field_of_the_other_version_does_not_compile() -> None:
    """The list of 12 names fields that NVIDIA's header of 13.0 does not have."""
    with pytest.raises(AssertionError, match="clockRate"):
        printed(12, nvidia=13)
