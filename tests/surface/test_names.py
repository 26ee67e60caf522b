"""The lists of entry points have every function of NVIDIA's headers, each with the header's prototype."""

import pytest
from headers import ALL_FORMS, FOLDERS, Headers, complaints, headers, rows

# What no header declares: exported by NVIDIA's 535.261.03 libraries.
UNDECLARED = {
    "cuda": {
        "cuEGLApiInit", "cuMemGetAttribute", "cuMemGetAttribute_v2", "cudbgApiAttach", "cudbgApiDetach", "cudbgApiInit",
        "cudbgGetAPI", "cudbgGetAPIVersion", "cudbgMain", "cudbgReportDriverApiError", "cudbgReportDriverInternalError",
    },
    "nvml": {"nvmlGetBlacklistDeviceCount", "nvmlGetBlacklistDeviceInfoByIndex", "nvmlInternalGetExportTable"},
}  # fmt: skip

# Prototypes that are ours on purpose.
OURS = {
    "nvmlDeviceGetPciInfo": "it writes no more than the struct of NVML 1 had",
    "nvmlDeviceGetPciInfo_v2": "it writes no more than the struct of NVML 2 had",
}


@pytest.fixture(params=list(FOLDERS))
def release(request: pytest.FixtureRequest) -> Headers:
    """Each release of the headers."""
    return headers(request.param)


@pytest.mark.parametrize("api", ["cuda", "nvml"])
def test_every_function_of_the_header_is_in_the_list(api, release):
    """100 % of what the header declares, in every version and per-thread form."""
    declared = release.functions(api)
    assert len(declared) > 300  # the header was read, in all its forms
    assert declared - set(rows(api)) == set()


def wrong_prototypes(api: str, release: Headers, listed: dict[str, str]) -> list[str]:
    """The functions whose type in the header is not the one of the list."""
    result = "CUresult" if api == "cuda" else "nvmlReturn_t"
    kinds = {name: "const char *" if name == "nvmlErrorString" else result for name in listed}
    asserts = {
        name: f"__builtin_types_compatible_p(__typeof__({name}), {kinds[name]} {parameters})"
        for name, parameters in listed.items()
    }
    return complaints([release.path(api)], asserts, ALL_FORMS[api])


@pytest.mark.parametrize("api", ["cuda", "nvml"])
def test_the_compiler_finds_each_prototype_in_the_header(api, release):
    """Number, order and types of the parameters are the header's, as the compiler compares types."""
    listed = {name: row.parameters for name, row in rows(api).items() if name in release.functions(api) - set(OURS)}
    assert wrong_prototypes(api, release, listed) == []


@pytest.mark.parametrize("api", ["cuda", "nvml"])
def test_a_wrong_prototype_is_found(api, release):
    """The control: a parameter of another type, one too many, one too few."""
    known = {"cuda": "cuMemGetInfo_v2", "nvml": "nvmlDeviceGetMemoryInfo"}[api]
    for parameters in ("(char a)", "(void)", rows(api)[known].parameters[:-1] + ", int more)"):
        assert wrong_prototypes(api, release, {known: parameters}) == [known]


@pytest.mark.parametrize("api", ["cuda", "nvml"])
def test_the_list_has_nothing_that_nobody_declares(api):
    """What is in the list is in a header of NVIDIA's, or is known to be exported by its libraries."""
    newest = headers("newest")
    declared = newest.functions(api)
    if api == "cuda":
        declared |= {row.name for row in rows("cuda").values() if row.base != "VGPU_NO_BASE"} & steps_of(newest)
    assert set(rows(api)) - declared == UNDECLARED[api]


def steps_of(release: Headers) -> set[str]:
    """The functions that cuda*Typedefs.h has a type for: the i-th step of a name is NAME_v<i>."""
    from test_steps import typedefs

    return {step.function for step in typedefs(release)}
