"""nvmlErrorString."""

from vgpu_harness.conformance.rule import Nvml, rule

TEXTS = {
    0: "Success",
    1: "Uninitialized",
    2: "Invalid Argument",
    3: "Not Supported",
    4: "Insufficient Permissions",
    6: "Not Found",
    7: "Insufficient Size",
    9: "Driver Not Loaded",
    13: "Function Not Found",
    15: "GPU is lost",
    18: "Driver/library version mismatch",
    999: "Unknown Error",
}


def _texts(nvml: Nvml) -> None:
    for code, wanted in TEXTS.items():
        nvml.equal(nvml.says("nvmlErrorString", code), wanted, f"the text of {code}")
    for code in (12345, -1, 500):
        nvml.equal(nvml.says("nvmlErrorString", code), "Unknown Error", f"the text of {code}")


@rule("nvmlErrorString", source="read from 535.261.03", gpu=False)
def texts_of_codes(nvml: Nvml) -> None:
    """nvmlErrorString answers NVIDIA's words, "Unknown Error" for a code that is none, before any initialisation."""
    _texts(nvml)


@rule("nvmlErrorString", source="read from 535.261.03; nvml.h 13.5, enum nvmlReturn_enum", gpu=True)
def texts_of_an_initialised_library(nvml: Nvml) -> None:
    """After nvmlInit it answers the same words, and one for each code of nvml.h."""
    nvml.init()
    _texts(nvml)
    said = {code: nvml.says("nvmlErrorString", code) for code in nvml.ffi.typeof("nvmlReturn_t").elements}
    for code, text in said.items():
        nvml.check(text, f"{code} has a text")
