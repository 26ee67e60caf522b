"""What goes before and after each model: faults, the record of a call, errno."""

from pathlib import Path

import pytest

from vgpu_harness._wire import ffi, lib
from vgpu_harness.host import Host, write_image, write_tree
from vgpu_harness.host.faults import text_functions
from vgpu_harness.shims.inprocess import Cuda, Nvml
from vgpu_harness.trace import Kind, Trace, create_trace

SUCCESS, INVALID_VALUE, NOT_INITIALIZED, INVALID_DEVICE = 0, 1, 3, 101
MIB = 1 << 20
UUID = "GPU-8f3a1c52-7e90-4b6d-a1f2-3c4d5e6f7a8b"


@pytest.fixture
def traced(vgpu_image: Path, tmp_path: Path, monkeypatch):
    """The driver after cuInit(0), with a trace; ``records()`` reads the CALL records so far, the last one first."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    path = create_trace(tmp_path / "trace", 1 << 20)
    with Cuda(vgpu_image, trace=path) as cuda:
        cuda.cuInit(0)
        cuda.records = lambda: [record for record in Trace.open(path) if record.kind == Kind.CALL][::-1]
        yield cuda


def driver(host: Host, tmp_path: Path, function: str) -> Cuda | Nvml:
    """The model that has a function, on a host."""
    directory = tmp_path / function
    directory.mkdir()
    image = write_image(host, write_tree(host, directory / "tree"), directory / "image")
    return Cuda(image) if function.startswith("cu") else Nvml(image)


def faults(*tables: dict) -> pytest.MarkDecorator:
    """A host with these faults."""
    return pytest.mark.vgpu(host={"gpu": [{"uuid": UUID}], "faults": list(tables)})


class TestFaults:
    @faults({"function": "cuDeviceGetCount", "result": 999})
    def test_a_result_is_answered_without_asking_the_model(self, traced):
        """The code is the fault's, and the output stays as it was."""
        out = ffi.new("int *", 4711)
        assert (traced.cuDeviceGetCount(out), out[0]) == (999, 4711)
        assert (traced.records()[0].result, traced.records()[0].outputs, traced.records()[0].faulted) == (999, (), True)

    @faults({"function": "cuDeviceGetCount", "value": 7, "result": 600})
    def test_a_fault_may_have_both(self, traced):
        """The value goes where the model's would, and the code is the fault's."""
        assert traced.device_count() == (600, 7)
        assert (traced.records()[0].result, traced.records()[0].outputs) == (600, (7,))

    @faults({"function": "cuMemGetInfo_v2", "value": 12345})
    def test_a_value_takes_the_first_outputs_place(self, traced):
        """Of free and total, free; the record shows what the program got."""
        traced.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0)
        free, total = ffi.new("size_t *"), ffi.new("size_t *")
        assert traced.cuMemGetInfo_v2(free, total) == SUCCESS
        assert free[0] == 12345 != total[0]
        assert traced.records()[0].outputs == (12345, total[0])

    @faults({"function": "cuDeviceTotalMem_v2", "value": 2**40 + 1}, {"function": "cuDeviceGetAttribute", "value": -2})
    def test_a_value_has_the_size_of_the_output(self, traced):
        """Eight bytes or four, and nothing beside them."""
        assert traced.total_memory() == (SUCCESS, 2**40 + 1)
        pair = ffi.new("int[2]", [0, 4711])
        assert (traced.cuDeviceGetAttribute(pair, 75, 0), pair[0], pair[1]) == (SUCCESS, -2, 4711)

    @faults({"function": "cuDeviceGetCount", "value": 7})
    def test_a_value_is_for_calls_that_answer(self, traced):
        """Where the model refuses, there is no output to change."""
        assert traced.cuDeviceGetCount(ffi.NULL) == INVALID_VALUE
        assert traced.records()[0].faulted is False

    @faults({"function": "cuDeviceGetPCIBusId", "text": "00000000:00:05.0"})
    def test_a_text_takes_the_place_of_the_models(self, traced):
        """The program gets the fault's text, and the record shows what it got."""
        out = ffi.new("char[32]")
        assert (traced.cuDeviceGetPCIBusId(out, 32, 0), ffi.string(out)) == (SUCCESS, b"00000000:00:05.0")
        assert (traced.records()[0].text, traced.records()[0].faulted) == ("00000000:00:05.0", True)

    @faults({"function": "cuDeviceGetName", "text": "a long name"})
    def test_a_text_is_cut_to_the_buffer(self, traced):
        """With its NUL it fits into the size that the program gave, and not a byte beyond is touched."""
        out = ffi.new("char[8]", b"########")
        assert (traced.cuDeviceGetName(out, 5, 0), ffi.buffer(out)[:]) == (SUCCESS, b"a lo\0###")
        assert traced.records()[0].text == "a lo"

    @faults({"function": "cuDeviceGetName", "text": "other"})
    def test_a_text_is_for_calls_that_answer(self, traced):
        """Where the model refuses, nothing is written."""
        out = ffi.new("char[8]", b"#######")
        assert (traced.cuDeviceGetName(out, 8, 9), ffi.string(out)) == (INVALID_DEVICE, b"#######")
        assert traced.records()[0].faulted is False

    @faults({"function": "cuDeviceGetName", "text": "other", "result": 999})
    def test_a_fault_may_have_text_and_result(self, traced):
        """Both are the fault's."""
        out = ffi.new("char[8]")
        assert (traced.cuDeviceGetName(out, 8, 0), ffi.string(out)) == (999, b"other")

    def test_every_function_with_a_text_takes_the_fault(self, tmp_path):
        """Each function that writes a text about the system or a device is one that a text fault can change."""
        out, handle = ffi.new("char[96]"), ffi.new("nvmlDevice_t *")
        arguments = {
            ("char *", "int", "int"): lambda: (out, 96, 0),
            ("char *", "unsigned int"): lambda: (out, 96),
            ("struct nvmlDevice_st *", "char *", "unsigned int"): lambda: (handle[0], out, 96),
        }
        tried = set()
        for name in text_functions():
            kinds = tuple(kind.cname for kind in ffi.typeof(getattr(lib, f"vgpu_call_{name}")).args[1:])
            if kinds not in arguments:
                continue  # it takes more than a device, or reads the text
            with driver(Host(faults=[{"function": name, "text": "other"}]), tmp_path, name) as model:
                if name.startswith("cu"):
                    model.cuInit(0)
                else:
                    model.nvmlInit_v2()
                    model.nvmlDeviceGetHandleByIndex_v2(0, handle)
                assert (getattr(model, name)(*arguments[kinds]()), ffi.string(out)) == (SUCCESS, b"other"), name
            tried.add(name)
        assert {"cuDeviceGetName", "cuDeviceGetPCIBusId", "nvmlSystemGetDriverVersion", "nvmlDeviceGetSerial"} <= tried

    @faults({"function": "cuDeviceGet", "result": 46, "after": 2})
    def test_after_counts_calls_that_failed_too(self, traced):
        """The first two calls pass, whatever they answer."""
        assert [traced.device(5)[0], traced.device(0)[0], traced.device(0)[0], traced.device(5)[0]] == [
            INVALID_DEVICE,
            SUCCESS,
            46,
            46,
        ]

    @faults({"function": "cuInit", "delay": 0.05})
    def test_a_delay_is_seen_as_entered_once(self, traced, tmp_path):
        """The call that waits is in the trace before it returns, once."""
        entered = [r for r in Trace.open(tmp_path / "trace") if r.kind == Kind.ENTERED and r.name == "cuInit"]
        called = [r for r in traced.records() if r.name == "cuInit"]
        assert (len(entered), len(called)) == (1, 1)
        assert called[0].time_ns - entered[0].time_ns >= 50_000_000

    @faults({"function": "cuDeviceGetCount", "result": 999})
    def test_a_fault_is_not_for_a_process_that_the_gate_refuses(self, vgpu_cuda):
        """Without the gate's yes the answer is 3."""
        vgpu_cuda.set_facts(exe="sshd")
        assert vgpu_cuda.device_count()[0] == NOT_INITIALIZED


@pytest.mark.vgpu(
    host={"gpu": [{"uuid": UUID, "pci": "0000:3b:1e.0", "memory_mib": 1024, "reserved_mib": 24, "used_mib": 100}]}
)
def test_what_the_record_of_each_call_shows(traced, vgpu_host):
    """Inputs, outputs and a text that names the device: what the funnel lives on."""
    pci, name = "0000:3b:1e.0", vgpu_host.gpu[0].name
    context, uuid, free = ffi.new("CUcontext *"), ffi.new("CUuuid *"), ffi.new("size_t[2]")
    calls = [
        ("cuDriverGetVersion", (ffi.new("int *"),), (), (13000,), ""),
        ("cuDeviceGetCount", (ffi.new("int *"),), (), (1,), ""),
        ("cuDeviceGet", (ffi.new("int *"), 0), (0,), (0,), pci),
        ("cuDeviceGetAttribute", (ffi.new("int *"), 75, 0), (75, 0), (9,), pci),
        ("cuDeviceGetName", (ffi.new("char[96]"), 96, 0), (96, 0), (), name),
        ("cuDeviceGetUuid", (uuid, 0), (0,), (), UUID),
        ("cuDeviceGetUuid_v2", (uuid, 0), (0,), (), UUID),
        ("cuDeviceTotalMem_v2", (free, 0), (0,), (1000 * MIB,), pci),
        ("cuDeviceGetPCIBusId", (ffi.new("char[32]"), 32, 0), (32, 0), (), pci),
        ("cuDeviceGetByPCIBusId", (ffi.new("int *"), b"3B:1E.0"), (), (0,), pci),
        ("cuCtxCreate_v3", (context, ffi.NULL, 0, 0, 0), (0, 0, 0), (), pci),
        ("cuMemGetInfo_v2", (free, free + 1), (), (900 * MIB, 1000 * MIB), pci),
        ("cuMemAlloc_v2", (ffi.new("CUdeviceptr *"), 4096), (4096,), (1 << 47,), ""),
        ("cuCtxSynchronize", (), (), (), ""),
        (
            "cuGetProcAddress_v2",
            (b"cuMemAlloc", ffi.new("void **"), 12000, 2, ffi.new("int *")),
            (12000, 2),
            (0,),
            "cuMemAlloc",
        ),
        ("cuGetErrorString", (802, ffi.new("char const **")), (802,), (), "system not yet initialized"),
    ]
    for function, arguments, *expected in calls:
        assert getattr(traced, function)(*arguments) == SUCCESS
        record = traced.records()[0]
        assert (record.name, record.result, record.caller) == (function, SUCCESS, 0)
        assert [record.inputs, record.outputs, record.text] == expected


def test_a_failed_search_shows_what_was_asked_for(traced):
    """A PCI address and a symbol that are not there are in the record."""
    assert traced.cuDeviceGetByPCIBusId(ffi.new("int *"), b"0000:99:00.0") == INVALID_DEVICE
    assert traced.records()[0].text == "0000:99:00.0"
    traced.cuGetProcAddress_v2(b"cuFly", ffi.new("void **"), 12000, 0, ffi.NULL)
    assert traced.records()[0].text == "cuFly"


def test_errno_survives_every_call(traced):
    """Whatever a call does inside, the program's errno is not touched, not even by a failed reservation."""
    out = ffi.new("CUdeviceptr *")
    for size in (4096, 2**62):
        ffi.errno = 4711
        traced.cuMemAddressReserve(out, size, 0, 0, 0)
        assert ffi.errno == 4711
    ffi.errno = 17
    traced.device_count()
    assert ffi.errno == 17


def test_many_threads_keep_the_account_even(traced):
    """Threads that allocate and free at the same time leave exactly what was free."""
    from concurrent.futures import ThreadPoolExecutor

    context, free, total = ffi.new("CUcontext *"), ffi.new("size_t *"), ffi.new("size_t *")
    traced.cuCtxCreate_v2(context, 0, 0)
    traced.cuMemGetInfo_v2(free, total)
    before = free[0]

    def work(_: int) -> int:
        own = ffi.new("CUdeviceptr *")
        wrong = traced.cuCtxPushCurrent_v2(context[0])
        for size in range(1, 400):
            wrong |= traced.cuMemAlloc_v2(own, size) | traced.cuMemFree_v2(own[0])
        return wrong | traced.cuCtxPopCurrent_v2(ffi.NULL)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(16))) == {SUCCESS}
    traced.cuMemGetInfo_v2(free, total)
    assert free[0] == before
