"""The driver under test as the state machine calls it, in the reference's form.

The same calls can be made in two places: in this process, of the C models (`InProcessDriver`), and in a process of its
own, of the preloaded shims (`IsolatedDriver`).
"""

import contextlib
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from vgpu_harness._wire import ffi, lib
from vgpu_harness.fuzz.answer import Answer, Value
from vgpu_harness.fuzz.calls import Argument, Call, Memory, c_string
from vgpu_harness.fuzz.isolated import Executor
from vgpu_harness.fuzz.outcome import Ended, Result, struct_values, text_of
from vgpu_harness.host import Host, Tree, write_image
from vgpu_harness.shims.inprocess import Cuda, Nvml

THREADS = (0, 1)
"""The threads that call: that of the machine, and one more."""

VISIBLE = "CUDA_VISIBLE_DEVICES"

Caller = Callable[[Call], Result]
"""Makes a call and says what came of it."""


class Driver(Protocol):
    """What the state machine calls: made from a host, closed at the end of an example."""

    cuda: "CudaCalls"
    nvml: "NvmlCalls"

    def close(self) -> None:
        """Ends the process."""


class InProcessDriver:
    """Both APIs as a fresh process of a simulated host finds them, without the variable that hides devices.

    Attributes:
        cuda: the calls of the CUDA driver.
        nvml: the calls of NVML.
    """

    def __init__(self, host: Host) -> None:
        self._hidden = os.environ.pop(VISIBLE, None)
        self._directory = TemporaryDirectory(prefix="vgpu-fuzz-")
        place = Path(self._directory.name)
        # Neither API reads a file of the host, so the image needs no tree.
        image = write_image(host, Tree(place, ()), place / "host.image")
        self._apis: dict[str, Any] = {"cu": Cuda(image), "nvml": Nvml(image)}
        self._other = ThreadPoolExecutor(1)
        self.cuda = CudaCalls(self._call)
        self.nvml = NvmlCalls(self._call)

    def _call(self, call: Call) -> Result:
        api = self._apis["nvml" if call.function.startswith("nvml") else "cu"]
        function = functools.partial(getattr(lib, f"vgpu_call_{call.function}"), api.process)
        types = ffi.typeof(function.func).args[1:]
        memory: list[Any] = []
        arguments = []
        for argument, kind in zip(call.arguments, types, strict=True):
            if isinstance(argument, Memory):
                filled = argument.filled()
                memory.append(ffi.new("char[]", max(len(filled), 1)))
                ffi.memmove(memory[-1], filled, len(filled))
                arguments.append(ffi.cast(kind, memory[-1]))
            else:
                arguments.append(ffi.cast(kind, argument))
        code = int(function(*arguments)) if call.thread == 0 else self._other.submit(function, *arguments).result()
        return Result(code & 0xFFFFFFFF, tuple(bytes(ffi.buffer(raw)) for raw in memory))

    def close(self) -> None:
        """Ends the process; neither API may be called any more."""
        self._other.shutdown()
        for api in self._apis.values():
            api.close()
        self._directory.cleanup()
        if self._hidden is not None:
            os.environ[VISIBLE] = self._hidden


class IsolatedDriver:
    """Both APIs as they are preloaded into an executor: a crash, a hang or a leak fails the example that did it.

    Args:
        host: the host of this example.
        executor: which executor; one of its own for None, which takes some milliseconds more. Give one with
            ``functools.partial(IsolatedDriver, executor=executor)``.
    """

    def __init__(self, host: Host, executor: Executor | None = None) -> None:
        with contextlib.ExitStack() as stack:
            used = executor if executor is not None else stack.enter_context(Executor())
            used.set_host(host)
            self._session = used.session()
            self._own = stack.pop_all()
        self.cuda = CudaCalls(self._call)
        self.nvml = NvmlCalls(self._call)

    def _call(self, call: Call) -> Result:
        outcome = self._session.call(call)
        if outcome.problems:
            raise AssertionError(str(outcome))
        return outcome.results[-1]

    def close(self) -> None:
        """Ends the process.

        Raises:
            AssertionError: it did not leave as it should.
        """
        gone = self._session.outcome.ended is not Ended.STAYS
        outcome = self._session.close()
        self._own.close()
        # What is gone has been told by the call that did it.
        if outcome.problems and not gone:
            raise AssertionError(str(outcome))


class Output(NamedTuple):
    """An argument that the call writes to, and what its bytes mean."""

    size: int
    read: Callable[[bytes], tuple[Value, ...]]


def number_of(kind: str) -> Output:
    """An output of one number of a C type."""
    size, signed = int(ffi.sizeof(kind)), not kind.startswith("unsigned") and kind != "size_t"
    return Output(size, lambda raw: (int.from_bytes(raw[:size], "little", signed=signed),))


def struct_of(kind: str, *places: int) -> Output:
    """An output of a struct, of which some fields are answered."""
    return Output(int(ffi.sizeof(kind)), lambda raw: tuple(struct_values(f"{kind} *", raw)[i] for i in places))


def text(length: int) -> Output:
    """An output of a text, into a buffer of `length` bytes."""
    return Output(max(length, 0), lambda raw: (text_of(raw),))


INT, UNSIGNED, SIZE, ADDRESS = map(number_of, ("int", "unsigned int", "size_t", "uintptr_t"))


def ask(caller: Caller, name: str, *arguments: int | Memory | Output, thread: int = 0) -> Answer:
    """Makes a call. The outputs are read only where it has written them."""
    outputs = [argument for argument in arguments if isinstance(argument, Output)]
    passed: tuple[Argument, ...] = tuple(
        Memory(argument.size) if isinstance(argument, Output) else argument for argument in arguments
    )
    result = caller(Call(name, passed, thread))
    values: list[Value] = []
    memory = [
        raw for raw, of in zip(result.outputs, (a for a in arguments if not isinstance(a, int)), strict=True)
        if isinstance(of, Output)
    ]  # fmt: skip
    for output, raw in zip(outputs, memory if result.code == 0 else (), strict=False):
        values.extend(output.read(raw or b""))
    return Answer(result.code, tuple(values))


class CudaCalls:
    """The CUDA driver API. Contexts and allocations are numbers; `thread` is the one of `THREADS` that calls."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    def _ask(self, name: str, *arguments: int | Memory | Output, thread: int = 0) -> Answer:
        return ask(self.caller, name, *arguments, thread=thread)

    def init(self, flags: int) -> Answer:
        """cuInit."""
        return self._ask("cuInit", flags)

    def driver_version(self) -> Answer:
        """cuDriverGetVersion."""
        return self._ask("cuDriverGetVersion", INT)

    def count(self) -> Answer:
        """cuDeviceGetCount."""
        return self._ask("cuDeviceGetCount", INT)

    def device(self, ordinal: int) -> Answer:
        """cuDeviceGet."""
        return self._ask("cuDeviceGet", INT, ordinal)

    def attribute(self, attribute: int, device: int) -> Answer:
        """cuDeviceGetAttribute."""
        return self._ask("cuDeviceGetAttribute", INT, attribute, device)

    def name(self, length: int, device: int) -> Answer:
        """cuDeviceGetName."""
        return self._ask("cuDeviceGetName", text(length), length, device)

    def pci_bus_id(self, length: int, device: int) -> Answer:
        """cuDeviceGetPCIBusId."""
        return self._ask("cuDeviceGetPCIBusId", text(length), length, device)

    def uuid(self, device: int) -> Answer:
        """cuDeviceGetUuid, in NVML's notation."""
        return self._ask("cuDeviceGetUuid", Output(16, lambda raw: (f"GPU-{UUID(bytes=raw)}",)), device)

    def total(self, device: int) -> Answer:
        """cuDeviceTotalMem."""
        return self._ask("cuDeviceTotalMem_v2", SIZE, device)

    def create(self, thread: int, device: int) -> Answer:
        """cuCtxCreate."""
        return self._ask("cuCtxCreate_v3", ADDRESS, 0, 0, 0, device, thread=thread)

    def destroy(self, thread: int, context: int) -> Answer:
        """cuCtxDestroy."""
        return self._ask("cuCtxDestroy_v2", context, thread=thread)

    def push(self, thread: int, context: int) -> Answer:
        """cuCtxPushCurrent."""
        return self._ask("cuCtxPushCurrent_v2", context, thread=thread)

    def set_current(self, thread: int, context: int) -> Answer:
        """cuCtxSetCurrent."""
        return self._ask("cuCtxSetCurrent", context, thread=thread)

    def pop(self, thread: int) -> Answer:
        """cuCtxPopCurrent."""
        return self._ask("cuCtxPopCurrent_v2", ADDRESS, thread=thread)

    def current(self, thread: int) -> Answer:
        """cuCtxGetCurrent."""
        return self._ask("cuCtxGetCurrent", ADDRESS, thread=thread)

    def context_device(self, thread: int) -> Answer:
        """cuCtxGetDevice."""
        return self._ask("cuCtxGetDevice", INT, thread=thread)

    def retain(self, device: int) -> Answer:
        """cuDevicePrimaryCtxRetain."""
        return self._ask("cuDevicePrimaryCtxRetain", ADDRESS, device)

    def release(self, device: int) -> Answer:
        """cuDevicePrimaryCtxRelease."""
        return self._ask("cuDevicePrimaryCtxRelease_v2", device)

    def reset(self, device: int) -> Answer:
        """cuDevicePrimaryCtxReset."""
        return self._ask("cuDevicePrimaryCtxReset_v2", device)

    def primary_state(self, device: int) -> Answer:
        """cuDevicePrimaryCtxGetState: flags, active."""
        return self._ask("cuDevicePrimaryCtxGetState", device, UNSIGNED, INT)

    def memory_info(self, thread: int) -> Answer:
        """cuMemGetInfo: free, total."""
        return self._ask("cuMemGetInfo_v2", SIZE, SIZE, thread=thread)

    def allocate(self, thread: int, size: int) -> Answer:
        """cuMemAlloc."""
        return self._ask("cuMemAlloc_v2", ADDRESS, size, thread=thread)

    def free(self, thread: int, allocation: int) -> Answer:
        """cuMemFree."""
        return self._ask("cuMemFree_v2", allocation, thread=thread)


class NvmlCalls:
    """NVML. Device handles are numbers."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    def _ask(self, name: str, *arguments: int | Memory | Output) -> Answer:
        return ask(self.caller, name, *arguments)

    def init(self, form: str) -> Answer:
        """nvmlInit, nvmlInit_v2 or nvmlInitWithFlags(0)."""
        return self._ask(form, *((0,) if form == "nvmlInitWithFlags" else ()))

    def shutdown(self) -> Answer:
        """nvmlShutdown."""
        return self._ask("nvmlShutdown")

    def driver_version(self, length: int) -> Answer:
        """nvmlSystemGetDriverVersion."""
        return self._ask("nvmlSystemGetDriverVersion", text(length), length)

    def nvml_version(self, length: int) -> Answer:
        """nvmlSystemGetNVMLVersion."""
        return self._ask("nvmlSystemGetNVMLVersion", text(length), length)

    def cuda_version(self) -> Answer:
        """nvmlSystemGetCudaDriverVersion_v2."""
        return self._ask("nvmlSystemGetCudaDriverVersion_v2", INT)

    def count(self) -> Answer:
        """nvmlDeviceGetCount_v2."""
        return self._ask("nvmlDeviceGetCount_v2", UNSIGNED)

    def by_index(self, index: int) -> Answer:
        """nvmlDeviceGetHandleByIndex_v2."""
        return self._ask("nvmlDeviceGetHandleByIndex_v2", index, ADDRESS)

    def by_uuid(self, uuid: str) -> Answer:
        """nvmlDeviceGetHandleByUUID."""
        return self._ask("nvmlDeviceGetHandleByUUID", c_string(uuid), ADDRESS)

    def by_pci(self, pci: str) -> Answer:
        """nvmlDeviceGetHandleByPciBusId_v2."""
        return self._ask("nvmlDeviceGetHandleByPciBusId_v2", c_string(pci), ADDRESS)

    def name(self, handle: int, length: int) -> Answer:
        """nvmlDeviceGetName."""
        return self._ask("nvmlDeviceGetName", handle, text(length), length)

    def uuid(self, handle: int, length: int) -> Answer:
        """nvmlDeviceGetUUID."""
        return self._ask("nvmlDeviceGetUUID", handle, text(length), length)

    def pci(self, handle: int) -> Answer:
        """nvmlDeviceGetPciInfo_v3: domain, bus, device, busId."""
        return self._ask("nvmlDeviceGetPciInfo_v3", handle, struct_of("nvmlPciInfo_t", 1, 2, 3, 6))

    def memory(self, handle: int) -> Answer:
        """nvmlDeviceGetMemoryInfo: total, free, used."""
        return self._ask("nvmlDeviceGetMemoryInfo", handle, struct_of("nvmlMemory_t", 0, 1, 2))
