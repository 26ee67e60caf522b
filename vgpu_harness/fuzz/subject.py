"""The driver under test as the state machine calls it: the C models in this process, in the reference's form."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from vgpu_harness._wire import ffi
from vgpu_harness.fuzz.answer import Answer, Value
from vgpu_harness.host import Host, Tree, write_image
from vgpu_harness.shims.inprocess import Cuda, Nvml

THREADS = (0, 1)
"""The threads that call: that of the machine, and one more."""

VISIBLE = "CUDA_VISIBLE_DEVICES"


def text_of(buffer: Any) -> str:
    """The string in a C buffer; bytes that a cut has left of a character are replaced."""
    return bytes(ffi.string(buffer)).decode(errors="replace")


def address(pointer: Any) -> int:
    """A pointer as a number."""
    return int(ffi.cast("uintptr_t", pointer))


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
        self.cuda = CudaCalls(Cuda(image))
        self.nvml = NvmlCalls(Nvml(image))

    def close(self) -> None:
        """Ends the process; neither API may be called any more."""
        self.cuda.close()
        self.nvml.close()
        self._directory.cleanup()
        if self._hidden is not None:
            os.environ[VISIBLE] = self._hidden


def answer(code: int, *values: Callable[[], Value]) -> Answer:
    """The outputs are read only where the call has written them."""
    return Answer(code, tuple(value() for value in values) if code == 0 else ())


class CudaCalls:
    """The CUDA driver API. Contexts and allocations are numbers; `thread` is the one of `THREADS` that calls."""

    def __init__(self, api: Cuda) -> None:
        self._api = api
        self._other = ThreadPoolExecutor(1)

    def close(self) -> None:
        """Ends the other thread and the process."""
        self._other.shutdown()
        self._api.close()

    def _call(self, name: str, *arguments: Any, thread: int = 0) -> int:
        function: Callable[..., int] = getattr(self._api, name)
        return function(*arguments) if thread == 0 else self._other.submit(function, *arguments).result()

    def _number(self, name: str, kind: str, *arguments: Any, thread: int = 0) -> Answer:
        """A call whose first parameter is an output."""
        out = ffi.new(f"{kind} *")
        return answer(self._call(name, out, *arguments, thread=thread), lambda: int(out[0]))

    def init(self, flags: int) -> Answer:
        """cuInit."""
        return Answer(self._call("cuInit", flags))

    def driver_version(self) -> Answer:
        """cuDriverGetVersion."""
        return self._number("cuDriverGetVersion", "int")

    def count(self) -> Answer:
        """cuDeviceGetCount."""
        return self._number("cuDeviceGetCount", "int")

    def device(self, ordinal: int) -> Answer:
        """cuDeviceGet."""
        return self._number("cuDeviceGet", "CUdevice", ordinal)

    def attribute(self, attribute: int, device: int) -> Answer:
        """cuDeviceGetAttribute."""
        return self._number("cuDeviceGetAttribute", "int", attribute, device)

    def _text(self, name: str, length: int, device: int) -> Answer:
        buffer = ffi.new("char[]", max(length, 0) + 1)
        return answer(self._call(name, buffer, length, device), lambda: text_of(buffer))

    def name(self, length: int, device: int) -> Answer:
        """cuDeviceGetName."""
        return self._text("cuDeviceGetName", length, device)

    def pci_bus_id(self, length: int, device: int) -> Answer:
        """cuDeviceGetPCIBusId."""
        return self._text("cuDeviceGetPCIBusId", length, device)

    def uuid(self, device: int) -> Answer:
        """cuDeviceGetUuid, in NVML's notation."""
        out = ffi.new("CUuuid *")
        return answer(
            self._call("cuDeviceGetUuid", out, device), lambda: f"GPU-{UUID(bytes=bytes(ffi.buffer(out.bytes, 16)))}"
        )

    def total(self, device: int) -> Answer:
        """cuDeviceTotalMem."""
        return self._number("cuDeviceTotalMem_v2", "size_t", device)

    def _pointer(self, name: str, kind: str, *arguments: Any, thread: int = 0) -> Answer:
        out = ffi.new(f"{kind} *")
        return answer(self._call(name, out, *arguments, thread=thread), lambda: address(out[0]))

    def create(self, thread: int, device: int) -> Answer:
        """cuCtxCreate."""
        return self._pointer("cuCtxCreate_v3", "CUcontext", ffi.NULL, 0, 0, device, thread=thread)

    def _with_context(self, name: str, thread: int, context: int) -> Answer:
        return Answer(self._call(name, ffi.cast("CUcontext", context), thread=thread))

    def destroy(self, thread: int, context: int) -> Answer:
        """cuCtxDestroy."""
        return self._with_context("cuCtxDestroy_v2", thread, context)

    def push(self, thread: int, context: int) -> Answer:
        """cuCtxPushCurrent."""
        return self._with_context("cuCtxPushCurrent_v2", thread, context)

    def set_current(self, thread: int, context: int) -> Answer:
        """cuCtxSetCurrent."""
        return self._with_context("cuCtxSetCurrent", thread, context)

    def pop(self, thread: int) -> Answer:
        """cuCtxPopCurrent."""
        return self._pointer("cuCtxPopCurrent_v2", "CUcontext", thread=thread)

    def current(self, thread: int) -> Answer:
        """cuCtxGetCurrent."""
        return self._pointer("cuCtxGetCurrent", "CUcontext", thread=thread)

    def context_device(self, thread: int) -> Answer:
        """cuCtxGetDevice."""
        return self._number("cuCtxGetDevice", "CUdevice", thread=thread)

    def retain(self, device: int) -> Answer:
        """cuDevicePrimaryCtxRetain."""
        return self._pointer("cuDevicePrimaryCtxRetain", "CUcontext", device)

    def release(self, device: int) -> Answer:
        """cuDevicePrimaryCtxRelease."""
        return Answer(self._call("cuDevicePrimaryCtxRelease_v2", device))

    def reset(self, device: int) -> Answer:
        """cuDevicePrimaryCtxReset."""
        return Answer(self._call("cuDevicePrimaryCtxReset_v2", device))

    def primary_state(self, device: int) -> Answer:
        """cuDevicePrimaryCtxGetState: flags, active."""
        flags, active = ffi.new("unsigned int *"), ffi.new("int *")
        code = self._call("cuDevicePrimaryCtxGetState", device, flags, active)
        return answer(code, lambda: int(flags[0]), lambda: int(active[0]))

    def memory_info(self, thread: int) -> Answer:
        """cuMemGetInfo: free, total."""
        free, total = ffi.new("size_t *"), ffi.new("size_t *")
        code = self._call("cuMemGetInfo_v2", free, total, thread=thread)
        return answer(code, lambda: int(free[0]), lambda: int(total[0]))

    def allocate(self, thread: int, size: int) -> Answer:
        """cuMemAlloc."""
        return self._number("cuMemAlloc_v2", "CUdeviceptr", size, thread=thread)

    def free(self, thread: int, allocation: int) -> Answer:
        """cuMemFree."""
        return Answer(self._call("cuMemFree_v2", allocation, thread=thread))


class NvmlCalls:
    """NVML. Device handles are numbers."""

    def __init__(self, api: Nvml) -> None:
        self.api = api

    def close(self) -> None:
        """Ends the process."""
        self.api.close()

    def _call(self, name: str, *arguments: Any) -> int:
        function: Callable[..., int] = getattr(self.api, name)
        return function(*arguments)

    def init(self, form: str) -> Answer:
        """nvmlInit, nvmlInit_v2 or nvmlInitWithFlags(0)."""
        return Answer(self._call(form, *((0,) if form == "nvmlInitWithFlags" else ())))

    def shutdown(self) -> Answer:
        """nvmlShutdown."""
        return Answer(self._call("nvmlShutdown"))

    def _text(self, name: str, length: int, *first: Any) -> Answer:
        buffer = ffi.new("char[]", length + 1)
        return answer(self._call(name, *first, buffer, length), lambda: text_of(buffer))

    def driver_version(self, length: int) -> Answer:
        """nvmlSystemGetDriverVersion."""
        return self._text("nvmlSystemGetDriverVersion", length)

    def nvml_version(self, length: int) -> Answer:
        """nvmlSystemGetNVMLVersion."""
        return self._text("nvmlSystemGetNVMLVersion", length)

    def cuda_version(self) -> Answer:
        """nvmlSystemGetCudaDriverVersion_v2."""
        out = ffi.new("int *")
        return answer(self._call("nvmlSystemGetCudaDriverVersion_v2", out), lambda: int(out[0]))

    def count(self) -> Answer:
        """nvmlDeviceGetCount_v2."""
        out = ffi.new("unsigned int *")
        return answer(self._call("nvmlDeviceGetCount_v2", out), lambda: int(out[0]))

    def _handle(self, name: str, key: Any) -> Answer:
        out = ffi.new("nvmlDevice_t *")
        return answer(self._call(name, key, out), lambda: address(out[0]))

    def by_index(self, index: int) -> Answer:
        """nvmlDeviceGetHandleByIndex_v2."""
        return self._handle("nvmlDeviceGetHandleByIndex_v2", index)

    def by_uuid(self, uuid: str) -> Answer:
        """nvmlDeviceGetHandleByUUID."""
        return self._handle("nvmlDeviceGetHandleByUUID", uuid.encode())

    def by_pci(self, pci: str) -> Answer:
        """nvmlDeviceGetHandleByPciBusId_v2."""
        return self._handle("nvmlDeviceGetHandleByPciBusId_v2", pci.encode())

    def name(self, handle: int, length: int) -> Answer:
        """nvmlDeviceGetName."""
        return self._text("nvmlDeviceGetName", length, ffi.cast("nvmlDevice_t", handle))

    def uuid(self, handle: int, length: int) -> Answer:
        """nvmlDeviceGetUUID."""
        return self._text("nvmlDeviceGetUUID", length, ffi.cast("nvmlDevice_t", handle))

    def pci(self, handle: int) -> Answer:
        """nvmlDeviceGetPciInfo_v3: domain, bus, device, busId."""
        out = ffi.new("nvmlPciInfo_t *")
        return answer(
            self._call("nvmlDeviceGetPciInfo_v3", ffi.cast("nvmlDevice_t", handle), out),
            lambda: int(out.domain),
            lambda: int(out.bus),
            lambda: int(out.device),
            lambda: text_of(out.busId),
        )

    def memory(self, handle: int) -> Answer:
        """nvmlDeviceGetMemoryInfo: total, free, used."""
        out = ffi.new("nvmlMemory_t *")
        return answer(
            self._call("nvmlDeviceGetMemoryInfo", ffi.cast("nvmlDevice_t", handle), out),
            lambda: int(out.total),
            lambda: int(out.free),
            lambda: int(out.used),
        )
