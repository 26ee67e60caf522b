"""cuGetProcAddress, cuGetExportTable, and the texts of errors: what a runtime library asks before cuInit."""

from pathlib import Path

import pytest
from support.entries import entries

from vgpu_harness._wire import ffi, lib
from vgpu_harness.shims.inprocess import Cuda
from vgpu_harness.trace import Trace, create_trace

SUCCESS, INVALID_VALUE, NOT_FOUND = 0, 1, 500
FOUND, SYMBOL_NOT_FOUND, VERSION_NOT_SUFFICIENT = 0, 1, 2
MARK = 0x5A5A5A5A

# (name, first version, function): cudaTypedefs.h 12.9 and 13.0, for names whose function has changed.
STEPS = [
    ("cuCtxCreate", 2000, "cuCtxCreate"),
    ("cuCtxCreate", 3020, "cuCtxCreate_v2"),
    ("cuCtxCreate", 11040, "cuCtxCreate_v3"),
    ("cuCtxCreate", 12050, "cuCtxCreate_v4"),
    ("cuGetProcAddress", 11030, "cuGetProcAddress"),
    ("cuGetProcAddress", 12000, "cuGetProcAddress_v2"),
    ("cuDeviceTotalMem", 2000, "cuDeviceTotalMem"),
    ("cuDeviceTotalMem", 3020, "cuDeviceTotalMem_v2"),
    ("cuDeviceGetUuid", 9020, "cuDeviceGetUuid"),
    ("cuDeviceGetUuid", 11040, "cuDeviceGetUuid_v2"),
    ("cuMemGetInfo", 3020, "cuMemGetInfo_v2"),
    ("cuMemAlloc", 3020, "cuMemAlloc_v2"),
    ("cuMemFree", 3020, "cuMemFree_v2"),
    ("cuCtxDestroy", 4000, "cuCtxDestroy_v2"),
    ("cuCtxPushCurrent", 4000, "cuCtxPushCurrent_v2"),
    ("cuCtxPopCurrent", 4000, "cuCtxPopCurrent_v2"),
    ("cuDevicePrimaryCtxRelease", 7000, "cuDevicePrimaryCtxRelease"),
    ("cuDevicePrimaryCtxRelease", 11000, "cuDevicePrimaryCtxRelease_v2"),
    ("cuDevicePrimaryCtxReset", 11000, "cuDevicePrimaryCtxReset_v2"),
    ("cuCtxGetDevice", 2000, "cuCtxGetDevice"),
    ("cuCtxGetDevice", 13000, "cuCtxGetDevice_v2"),
    ("cuCtxSynchronize", 13000, "cuCtxSynchronize_v2"),
    ("cuDriverGetVersion", 2020, "cuDriverGetVersion"),
    ("cuGetErrorString", 6000, "cuGetErrorString"),
    ("cuGetExportTable", 3000, "cuGetExportTable"),
    ("cuMemCreate", 10020, "cuMemCreate"),
    ("cuDevicePrimaryCtxRetain", 7000, "cuDevicePrimaryCtxRetain"),
    ("cuInit", 2000, "cuInit"),
]


def ask(cuda, name: str, version: int, flags: int = 0) -> tuple[int, str | None, int]:
    """cuGetProcAddress_v2: (code, function, status); None for NULL, "mark" if nothing was written."""
    pfn, status = ffi.new("void **", ffi.cast("void *", MARK)), ffi.new("int *", 77)
    code = cuda.cuGetProcAddress_v2(name.encode(), pfn, version, flags, status)
    return code, named(pfn[0]), int(status[0])


def named(pointer) -> str | None:
    """Which function of this module it is."""
    if pointer == ffi.NULL:
        return None
    if pointer == ffi.cast("void *", MARK):
        return "mark"
    return ffi.string(lib.vgpu_cuda_name_of(pointer)).decode()


@pytest.mark.parametrize(("name", "since", "function"), STEPS)
def test_each_version_gets_its_function(name, since, function, vgpu_cuda):
    """From its first version on a function is answered, and the one before it up to there; before cuInit too."""
    assert ask(vgpu_cuda, name, since) == (SUCCESS, function, FOUND)
    before = [(step, known) for base, step, known in STEPS if base == name and step < since]
    answer = ask(vgpu_cuda, name, since - 1)
    if before:
        assert answer == (SUCCESS, max(before)[1], FOUND)
    else:
        assert answer[2] in {FOUND, VERSION_NOT_SUFFICIENT}
    assert ask(vgpu_cuda, name, 999999)[2] == FOUND


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_no_function_here_depends_on_the_stream_flags(flags, vgpu_cuda):
    """Per-thread streams fall back to the plain function where there is no other."""
    assert ask(vgpu_cuda, "cuMemAlloc", 12020, flags) == (SUCCESS, "cuMemAlloc_v2", FOUND)


@pytest.mark.parametrize(
    ("name", "version", "status"),
    [
        ("nope", 12020, 1),
        ("", 0, 1),
        ("cuInit", 1000, 2),
        ("cuMemAlloc_v2", 12020, 1),
        ("cuMemCreate", 10010, 2),
        ("cuini", 12000, 1),
        ("cuInit", -1, 2),
    ],
)
def test_what_is_not_found_is_a_success_with_null(name, version, status, vgpu_cuda):
    """As measured on libcuda 535: NULL and a status; with the first form 500, and nothing is written."""
    assert ask(vgpu_cuda, name, version) == (SUCCESS, None, status)
    pfn = ffi.new("void **", ffi.cast("void *", MARK))
    assert (vgpu_cuda.cuGetProcAddress_v2(name.encode(), pfn, version, 0, ffi.NULL), pfn[0]) == (SUCCESS, ffi.NULL)
    pfn = ffi.new("void **", ffi.cast("void *", MARK))
    assert (vgpu_cuda.cuGetProcAddress(name.encode(), pfn, version, 0), named(pfn[0])) == (NOT_FOUND, "mark")


def test_the_first_form_finds_the_same(vgpu_cuda):
    """cuGetProcAddress without a status answers the same functions."""
    pfn = ffi.new("void **")
    assert (vgpu_cuda.cuGetProcAddress(b"cuMemAlloc", pfn, 12000, 0), named(pfn[0])) == (SUCCESS, "cuMemAlloc_v2")


@pytest.mark.parametrize("flags", [4, 8, 2**63])
def test_unknown_flags_are_invalid_and_write_nothing(flags, vgpu_cuda):
    """Flags from 4 on; and NULL for name or answer."""
    assert ask(vgpu_cuda, "cuInit", 12000, flags) == (INVALID_VALUE, "mark", 77)
    assert vgpu_cuda.cuGetProcAddress(b"cuInit", ffi.new("void **"), 12000, flags) == INVALID_VALUE
    assert vgpu_cuda.cuGetProcAddress_v2(ffi.NULL, ffi.new("void **"), 12000, 0, ffi.NULL) == INVALID_VALUE
    assert vgpu_cuda.cuGetProcAddress(b"cuInit", ffi.NULL, 12000, 0) == INVALID_VALUE


@pytest.mark.vgpu(host={"driver": {"version": "570.124.06"}})
def test_a_driver_does_not_know_what_is_newer_than_it(vgpu_cuda):
    """A 12.8 driver asked as 13.0 answers its own newest form: another would have other parameters."""
    assert ask(vgpu_cuda, "cuCtxSynchronize", 13000) == (SUCCESS, "cuCtxSynchronize", FOUND)
    assert ask(vgpu_cuda, "cuCtxCreate", 13000) == (SUCCESS, "cuCtxCreate_v4", FOUND)


@pytest.mark.vgpu(
    host={
        "faults": [
            {"library": "cuda", "missing_symbol": "cuCtxCreate_v4"},
            {"library": "cuda", "missing_symbol": "cuCtxCreate_v2"},
            {"library": "cuda", "missing_symbol": "cuMemGetInfo_v2"},
            {"library": "cuda", "missing_symbol": "cuInit"},
            {"library": "nvml", "missing_symbol": "cuMemAlloc_v2"},
        ]
    }
)
def test_a_missing_symbol_is_not_answered_either(vgpu_cuda):
    """The next older step of the name is; a name without one is not found; another library's fault says nothing."""
    assert ask(vgpu_cuda, "cuCtxCreate", 13000) == (SUCCESS, "cuCtxCreate_v3", FOUND)
    assert ask(vgpu_cuda, "cuCtxCreate", 11000) == (SUCCESS, "cuCtxCreate", FOUND)
    assert ask(vgpu_cuda, "cuMemGetInfo", 13000) == (SUCCESS, "cuMemGetInfo", FOUND)
    assert ask(vgpu_cuda, "cuInit", 13000) == (SUCCESS, None, SYMBOL_NOT_FOUND)
    assert ask(vgpu_cuda, "cuMemAlloc", 13000) == (SUCCESS, "cuMemAlloc_v2", FOUND)
    assert vgpu_cuda.cuInit(0) == SUCCESS


@pytest.mark.vgpu(host={"driver": {"version": "590.44.01", "cuda": "13.5"}})
def test_every_function_of_the_list_can_be_asked_for(vgpu_cuda):
    """Each is the answer to its base name from its own version on, not below, and a per-thread form only for flag 2."""
    wrong, names = {}, list(entries("cuda"))
    bases = {ffi.string(lib.vgpu_cuda_base(i)) for i in range(len(names)) if lib.vgpu_cuda_base(i) != ffi.NULL}
    for i, name in enumerate(names):
        if lib.vgpu_cuda_base(i) == ffi.NULL:
            assert name.encode() not in bases
            continue
        base, since = ffi.string(lib.vgpu_cuda_base(i)).decode(), lib.vgpu_cuda_since(i)
        flags = 2 if name.endswith(("_ptsz", "_ptds")) else 0
        found = [ask(vgpu_cuda, base, version, flags)[1] for version in (since, since - 1)]
        if found[0] != name or found[1] == name:
            wrong[name] = found
        if flags and ask(vgpu_cuda, base, since)[1] in {None, name}:
            wrong[name] = "without the flag"
    assert wrong == {}


@pytest.mark.vgpu(host={"driver": {"version": "580.95.05"}})
def test_each_version_that_libcudart_asks_for_is_a_step(vgpu_cuda):
    """NVIDIA's libcudart names the first version of the function that it wants: each is exactly a step of the table."""
    lines = (Path(__file__).parent / "support" / "cudart_requests.txt").read_text().splitlines()
    requests = {tuple(line.split()[1:]) for line in lines if not line.startswith("#")}
    assert len(requests) > 400
    wrong = []
    for name, version, flags in requests:
        code, found, status = ask(vgpu_cuda, name, int(version), int(flags))
        below = ask(vgpu_cuda, name, int(version) - 1, int(flags))[1]
        if (code, status) != (SUCCESS, FOUND) or found == below or not found.startswith(name):
            wrong.append((name, version, flags, found, below))
    assert wrong == []


def test_the_record_of_a_private_table_has_its_uuid(vgpu_image, tmp_path):
    """Which table was asked for stands in the trace as a UUID is written."""
    path = create_trace(tmp_path / "trace", 1 << 20)
    with Cuda(vgpu_image, trace=path) as cuda:
        uuid = ffi.new("CUuuid *", {"bytes": bytes.fromhex("6bd5fb6c5bf4e74a8987d93912fd9df9")})
        cuda.cuGetExportTable(ffi.new("void const **"), uuid)
    asked = [record.text for record in Trace.open(path) if record.name == "cuGetExportTable"]
    assert asked == ["6bd5fb6c-5bf4-e74a-8987-d93912fd9df9"]


def test_there_are_no_private_tables(vgpu_cuda):
    """cuGetExportTable answers 1 and NULL, for a table that libcudart asks for before cuInit and for any other."""
    for text in ("6bd5fb6c5bf4e74a8987d93912fd9df9", "f8cff95121468b4eb9e2fb469e7c0dd9", "00" * 16):
        table = ffi.new("void **", ffi.cast("void *", MARK))
        uuid = ffi.new("CUuuid *", {"bytes": bytes.fromhex(text)})
        assert (vgpu_cuda.cuGetExportTable(ffi.cast("void const **", table), uuid), table[0]) == (
            INVALID_VALUE,
            ffi.NULL,
        )


# Answers of NVIDIA's libcuda 535.261.03.
TEXTS = [
    (0, "CUDA_SUCCESS", "no error"),
    (1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"),
    (3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"),
    (34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"),
    (100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"),
    (201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"),
    (709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"),
    (802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"),
    (803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"),
    (999, "CUDA_ERROR_UNKNOWN", "unknown error"),
]


@pytest.mark.parametrize(("code", "name", "text"), TEXTS)
def test_names_and_texts_of_codes(code, name, text, vgpu_cuda):
    """As NVIDIA's library says them, to a process that the gate refuses as well."""
    vgpu_cuda.set_facts(exe="sshd")
    for function, expected in (("cuGetErrorName", name), ("cuGetErrorString", text)):
        out = ffi.new("char const **")
        assert (getattr(vgpu_cuda, function)(code, out), ffi.string(out[0]).decode()) == (SUCCESS, expected)


@pytest.mark.parametrize("function", ["cuGetErrorName", "cuGetErrorString"])
def test_an_unknown_code_has_no_text(function, vgpu_cuda):
    """INVALID_VALUE, and NULL for the text; so with NULL for the answer."""
    out = ffi.new("char const **", ffi.new("char[]", b"mark"))
    assert (getattr(vgpu_cuda, function)(12345, out), out[0]) == (INVALID_VALUE, ffi.NULL)
    assert getattr(vgpu_cuda, function)(0, ffi.NULL) == INVALID_VALUE
