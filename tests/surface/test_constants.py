"""Every constant of the shims' sources is NVIDIA's, with the header's number, or is known to be ours."""

import fnmatch
import functools
import re
import tomllib
from pathlib import Path

import pytest
from constants import Constant, constants, evaluate
from headers import CSRC, FOLDERS, Headers, headers

from vgpu_harness.host import mig

APIS = ("cuda", "nvml")
TABLES = {api: tomllib.loads((Path(__file__).parent / f"constants_{api}.toml").read_text()) for api in APIS}

# Macros for the version of a struct that are not called as the struct is.
RENAMED = {"nvmlGpuFabricInfoV_v3": "nvmlGpuFabricInfo_v3"}


@pytest.fixture(params=list(FOLDERS))
def release(request: pytest.FixtureRequest) -> Headers:
    """Each release of the headers."""
    return headers(request.param)


def listed(api: str) -> dict[Constant, str]:
    """The table: the header's expression for each constant."""
    return {
        Constant(file, name): expression
        for file, names in TABLES[api]["theirs"].items()
        for name, expression in names.items()
    }


def own(api: str) -> list[str]:
    """The patterns of the constants that are ours."""
    return [pattern for patterns in TABLES[api]["own"].values() for pattern in patterns]


@functools.cache
def theirs(api: str, expressions: tuple[str, ...], release: Headers) -> dict[str, int]:
    """The numbers that the headers of a release give to expressions; those that it cannot say are left out."""
    includes = [release.path(api)] + ([release.cuda.parent / "cudaEGL.h"] if api == "cuda" else [])
    return evaluate(includes, {expression: expression for expression in expressions})


def places(api: str, found: dict[Constant, int], release: Headers) -> dict[Constant, str]:
    """The header's expression of each constant that is not ours: by the table, or by its own name."""
    plain = tuple(sorted({constant.name for constant in found if re.fullmatch(r"CUDA_\w+|NVML_\w+", constant.name)}))
    known = theirs(api, plain, release)
    return listed(api) | {constant: constant.name for constant in found if constant.name in known}


def unplaced(api: str, found: dict[Constant, int]) -> tuple[set[str], set[str]]:
    """Constants that are in neither list or in both, and entries of the lists for which there is no constant."""
    placed = places(api, found, headers("newest"))
    names = {f"{constant.file} {constant.name}": constant for constant in found}
    ours = {name for pattern in own(api) for name in fnmatch.filter(names, pattern)}
    missing = {name for name, constant in names.items() if (constant in placed) == (name in ours)}
    gone = {f"{constant.file} {constant.name}" for constant in placed.keys() - found.keys()}
    return missing, gone | {pattern for pattern in own(api) if not fnmatch.filter(names, pattern)}


def wrong(api: str, found: dict[Constant, int], release: Headers) -> list[str]:
    """The constants whose number is not the header's."""
    placed = places(api, found, release)
    said = theirs(api, tuple(sorted(set(placed.values()))), release)
    grown = TABLES[api]["grown"].get(release.release, {})
    return [
        f"{constant.file} {constant.name} = {found[constant]}, {expression} = {said[expression]}"
        for constant, expression in placed.items()
        if constant in found and expression in said and said[expression] != grown.get(expression, found[constant])
    ]


@pytest.mark.parametrize("api", APIS)
def test_every_constant_is_in_one_list(api):
    """A new enumerator or macro must be placed: what NVIDIA calls it, or why it is ours."""
    found = constants(CSRC / api)
    assert len(found) > {"cuda": 300, "nvml": 150}[api]
    assert unplaced(api, found) == (set(), set())


@pytest.mark.parametrize("api", APIS)
def test_a_constant_that_comes_or_goes_is_found(api):
    """The control: one more constant, and one less."""
    found = constants(CSRC / api)
    lost = next(iter(listed(api)))
    changed = {constant: value for constant, value in found.items() if constant != lost}
    missing, gone = unplaced(api, changed | {Constant("new.c", "VGPU_NEW"): 1})
    assert "new.c VGPU_NEW" in missing
    assert f"{lost.file} {lost.name}" in gone


@pytest.mark.parametrize("api", APIS)
def test_each_constant_has_the_number_of_the_header(api, release):
    """As the compiler evaluates the header's expression; every one of them in the newest release."""
    found = constants(CSRC / api)
    assert wrong(api, found, release) == []
    expressions = set(listed(api).values())
    said = theirs(api, tuple(sorted(expressions)), release).keys()
    assert len(said) > len(expressions) / 2
    if release.release == "newest":
        assert expressions - said == set()


@pytest.mark.parametrize("api", APIS)
def test_a_wrong_number_is_found(api, release):
    """The control: each constant in turn, off by one."""
    found = constants(CSRC / api)
    expressions = theirs(api, tuple(sorted(set(listed(api).values()))), release)
    for constant, expression in listed(api).items():
        if (
            constant in found
            and expression in expressions
            and expression not in TABLES[api]["grown"].get(release.release, {})
        ):
            places_wrong = wrong(api, {constant: found[constant] + 1}, release)
            assert [place.split(" = ")[0] for place in places_wrong] == [f"{constant.file} {constant.name}"]


def struct_versions(release: Headers, more: int = 0) -> dict[str, tuple[int, int]]:
    """NVML_STRUCT_VERSION of each struct that the shims ask for by VGPU_NVML_STRUCT: ours and the header's number."""
    text = "".join(path.read_text() for path in sorted((CSRC / "nvml").glob("*.c")))
    used = sorted(set(re.findall(r"VGPU_NVML_STRUCT\((\w+)_t, (\d+)\)", text)))
    includes = sorted((CSRC / "nvml").glob("*.h"))
    macros = {name if re.search(r"_v\d+$", name) else f"{name}_v{n}": (name, n) for name, n in used}
    ours = evaluate(includes, {m: f"VGPU_NVML_STRUCT({name}_t, {n}) + {more}" for m, (name, n) in macros.items()})
    header = evaluate([release.nvml], {macro: RENAMED.get(macro, macro) for macro in macros})
    assert macros.keys() == ours.keys()
    assert release.release != "newest" or macros.keys() == header.keys()
    return {macro: (ours[macro], number) for macro, number in header.items()}


def test_struct_versions_are_the_headers(release):
    """Size and number of a versioned struct are those of the header's macro for it."""
    versions = struct_versions(release)
    assert len(versions) > 20
    assert {macro: pair for macro, pair in versions.items() if pair[0] != pair[1]} == {}


def test_a_wrong_struct_version_is_found(release):
    """The control: every struct a byte longer."""
    assert all(ours != header for ours, header in struct_versions(release, 1).values())


def wrong_profiles(slices: dict[int, int], release: Headers) -> dict[str, int]:
    """The MIG profiles whose number is not the header's; `slices` are numbers by compute slices."""
    mine = {
        f"NVML_{kind}_INSTANCE_PROFILE_{n}_SLICE": number for kind in ("GPU", "COMPUTE") for n, number in slices.items()
    }
    mine |= {f"NVML_GPU_INSTANCE_PROFILE_{n}_SLICE_REV1": number for n, number in mig._MEDIA.items()}
    mine |= {f"NVML_GPU_INSTANCE_PROFILE_{n}_SLICE_REV2": number for n, number in mig._WIDE.items()}
    said = theirs("nvml", tuple(mine), release)
    assert said.keys() == mine.keys()
    return {name: number for name, number in mine.items() if said[name] != number}


def test_mig_profiles_have_the_headers_numbers(release):
    """NVML_GPU_INSTANCE_PROFILE_* and NVML_COMPUTE_INSTANCE_PROFILE_*; a wrong one is found."""
    assert wrong_profiles(mig._SLICES, release) == {}
    assert wrong_profiles(mig._SLICES | {3: 4}, release).keys() == {
        "NVML_GPU_INSTANCE_PROFILE_3_SLICE", "NVML_COMPUTE_INSTANCE_PROFILE_3_SLICE",
    }  # fmt: skip


def named_numbers() -> set[tuple[str, str, int]]:
    """Lines `KEY = 5  # NVML_NAME: ...` of the profiles: file, name of the header, number."""
    folder = Path(mig.__file__).parent / "profiles"
    return {
        (path.name, name, int(number, 0))
        for path in folder.rglob("*.toml")
        for number, name in re.findall(r"^\w+ = (\w+)\s+# (NVML_\w+|nvml[A-Z]\w+)\b", path.read_text(), re.MULTILINE)
    }


def wrong_names(numbers: set[tuple[str, str, int]]) -> set[tuple[str, str, int]]:
    """Those whose number is not that of the name in any release: a mask of all reasons is the simulated driver's."""
    names = tuple(sorted({name for _, name, _ in numbers}))
    said = [theirs("nvml", names, headers(release)) for release in FOLDERS]
    return {line for line in numbers if all(one.get(line[1]) != line[2] for one in said)}


def test_profiles_numbers_are_those_of_the_names_beside_them():
    """A brand's or a mode's number in a profile is the header's; a wrong one is found."""
    numbers = named_numbers()
    assert len(numbers) >= 10
    assert wrong_names(numbers) == set()
    for file, name, number in numbers:
        assert wrong_names({(file, name, number + 1)}) == {(file, name, number + 1)}
