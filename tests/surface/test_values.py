"""Numbers that the shims share with NVIDIA's headers: result codes, device attributes, constants of the models."""

import re

import pytest
from headers import FOLDERS, Headers, enumerators, headers, parsed

from vgpu_harness._wire import ffi
from vgpu_harness.host.profile import attribute_ids


@pytest.fixture(params=list(FOLDERS))
def release(request: pytest.FixtureRequest) -> Headers:
    """Each release of the headers."""
    return headers(request.param)


def ours(enum: str) -> dict[str, int]:
    """An enum of the shims, by the names of its enumerators."""
    return {name: int(value) for name, value in ffi.typeof(f"enum {enum}").relements.items()}


@pytest.mark.parametrize(
    ("api", "enum", "prefix"),
    [("cuda", "cudaError_enum", r"CUDA_(SUCCESS$|ERROR_)"), ("nvml", "nvmlReturn_enum", r"NVML_(SUCCESS$|ERROR_)")],
)
def test_result_codes_are_the_headers(api, enum, prefix, release):
    """Every code of the header is known by its name and number; the newest header has all of ours."""
    declared = {name: value for name, value in enumerators(parsed(release.path(api))).items() if re.match(prefix, name)}
    known = ours(enum)
    assert len(declared) > 20
    assert {name: known.get(name) for name in declared} == declared
    if release.release == "newest":
        assert known.keys() <= enumerators(parsed(release.path(api))).keys()


def test_device_attributes_are_the_headers(release):
    """Every CU_DEVICE_ATTRIBUTE_ has its number in the profiles' table."""
    declared = {
        name.removeprefix("CU_DEVICE_ATTRIBUTE_"): value
        for name, value in enumerators(parsed(release.cuda)).items()
        if name.startswith("CU_DEVICE_ATTRIBUTE_") and name != "CU_DEVICE_ATTRIBUTE_MAX"
    }
    known = attribute_ids()
    numbers = set(known.values())  # an attribute may have a second, newer name
    wrong = {name: value for name, value in declared.items() if known.get(name, value) != value or value not in numbers}
    assert wrong == {}
