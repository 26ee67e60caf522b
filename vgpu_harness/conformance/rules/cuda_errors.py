"""Names and texts of CUDA's result codes."""

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE = 1
UNKNOWN_CODES = (12345, -1, 2**31 - 1, 33)
# The same on 535.261.03 and in libcudart 13.0.
TEXTS = {
    0: "no error",
    1: "invalid argument",
    2: "out of memory",
    3: "initialization error",
    100: "no CUDA-capable device is detected",
    101: "invalid device ordinal",
    201: "invalid device context",
    400: "invalid resource handle",
    999: "unknown error",
}
_MEASURED = "read from 535.261.03 by cuGetErrorName and cuGetErrorString"


def _names(cuda: Cuda) -> None:
    said = cuda.out("const char *")
    for code, wanted in sorted(cuda.ffi.typeof("CUresult").elements.items()):
        # A library that is older than the header knows fewer of them.
        if cuda.expect(0 if cuda.host is not None else (0, INVALID_VALUE), "cuGetErrorName", code, said) == 0:
            cuda.equal(cuda.string(cuda.value(said)), wanted, f"the name of {code}")
    for code in (0, 1, 100, 201, 999):
        cuda.ok("cuGetErrorName", code, said)


def _texts(cuda: Cuda) -> None:
    for code, wanted in TEXTS.items():
        said = cuda.out("const char *")
        cuda.ok("cuGetErrorString", code, said)
        cuda.equal(cuda.string(cuda.value(said)), wanted, f"the text of {code}")


@rule("cuGetErrorName", source=f"cuda.h 13.5, enum cudaError_enum; {_MEASURED}", gpu=False)
def names_of_codes(cuda: Cuda) -> None:
    """cuGetErrorName answers the enumerator of each code that it knows, before any initialisation."""
    _names(cuda)


@rule("cuGetErrorString", source=_MEASURED, gpu=False)
def texts_of_codes(cuda: Cuda) -> None:
    """cuGetErrorString answers NVIDIA's words, before any initialisation."""
    _texts(cuda)


@rule("cuGetErrorName", "cuGetErrorString", source=f"cuda.h 13.5, enum cudaError_enum; {_MEASURED}", gpu=True)
def names_and_texts_of_an_initialised_driver(cuda: Cuda) -> None:
    """After cuInit both answer as before: names are enumerators, texts NVIDIA's words, each known code has both."""
    cuda.init()
    _names(cuda)
    _texts(cuda)
    name, text = cuda.out("const char *"), cuda.out("const char *")
    for code in cuda.ffi.typeof("CUresult").elements:
        known = cuda.expect((0, INVALID_VALUE), "cuGetErrorName", code, name)
        cuda.expect(known, "cuGetErrorString", code, text)
        if known == 0:
            cuda.check(cuda.string(cuda.value(text)).isprintable(), f"the text of {code} is printable")


@rule(
    "cuGetErrorName",
    "cuGetErrorString",
    source="cuda.h 13.5, cuGetErrorName; measured on 535.261.03 (12345)",
    gpu=False,
)
def unknown_codes(cuda: Cuda) -> None:
    """For a code that is none both answer CUDA_ERROR_INVALID_VALUE and NULL."""
    for function in ("cuGetErrorName", "cuGetErrorString"):
        for code in UNKNOWN_CODES:
            said = cuda.out("const char *")
            cuda.expect(INVALID_VALUE, function, code, said)
            cuda.equal(cuda.value(said), cuda.null, f"what {function} says of {code}")
