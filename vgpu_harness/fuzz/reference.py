"""A second, small model of the CUDA driver and NVML, written from documentation and never from the C code.

The two are compared call by call. Each class takes the host that the C code has as an image; a method stands for an
entry point and answers an ``Answer``. "doc" is cuda.h or nvml.h 12.9; other sources are given where a rule is measured
or our own.
"""

from dataclasses import dataclass, field
from typing import Protocol

from vgpu_harness.fuzz.answer import Answer, Cuda, Nvml
from vgpu_harness.host import Gpu, Host

MIB = 1 << 20

COMPUTE_CAPABILITY_MAJOR = 75
COMPUTE_CAPABILITY_MINOR = 76
PCI_BUS_ID = 33
PCI_DEVICE_ID = 34
PCI_DOMAIN_ID = 50
VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102

NULL = 0
"""The handle that means none."""


class Thread(Protocol):
    """Anything hashable that tells threads apart."""

    def __hash__(self) -> int: ...


@dataclass
class Context:
    """A context that has been given out. A destroyed one stays known: its handle is recognised."""

    device: int
    primary: bool
    alive: bool = True


@dataclass
class Allocation:
    """Device memory of a context, `size` bytes."""

    context: int
    size: int


@dataclass
class Primary:
    """The primary context of a device: one handle for ever. A reset ends it and leaves its references (doc)."""

    handle: int = NULL
    references: int = 0
    active: bool = False


def text_answer(text: str, length: int) -> Answer:
    """A string of the CUDA driver, cut to a buffer of `length` bytes (doc of cuDeviceGetName)."""
    return Answer(0, (text.encode()[: length - 1].decode(errors="replace"),))


@dataclass
class ReferenceCuda:
    """The driver of one process. Handles of contexts and allocations are 1, 2, 3..."""

    host: Host
    initialized: bool = False
    contexts: dict[int, Context] = field(default_factory=dict)
    allocations: dict[int, Allocation] = field(default_factory=dict)
    stacks: dict[Thread, list[int]] = field(default_factory=dict)
    primaries: list[Primary] = field(default_factory=list)
    given: int = 0

    def __post_init__(self) -> None:
        self.gpus = sorted(self.host.gpu, key=lambda gpu: gpu.pci_numbers)  # of equal GPUs the lower address is first
        self.primaries = [Primary() for _ in self.host.gpu]

    def _new_handle(self) -> int:
        self.given += 1
        return self.given

    def _refusal(self, device: int | None = None) -> Answer | None:
        """Why a call cannot be served: the driver is not initialised (this check comes first), or no such device."""
        if not self.initialized:
            return Answer(Cuda.NOT_INITIALIZED)
        if device is not None and not 0 <= device < len(self.host.gpu):
            return Answer(Cuda.INVALID_DEVICE)
        return None

    def _current(self, thread: Thread) -> int:
        stack = self.stacks.setdefault(thread, [])
        return stack[-1] if stack else NULL

    def _refused_context(self, handle: int) -> Answer | None:
        """A handle that was never given out, or whose context is gone. cuda.h leaves it undefined: our own rule."""
        if handle not in self.contexts:
            return Answer(Cuda.INVALID_CONTEXT)
        return None if self.contexts[handle].alive else Answer(Cuda.CONTEXT_IS_DESTROYED)

    def _destroy(self, handle: int) -> None:
        self.contexts[handle].alive = False
        self.allocations = {key: kept for key, kept in self.allocations.items() if kept.context != handle}

    # Initialisation

    def init(self, flags: int) -> Answer:
        """cuInit: flags must be 0 (doc). It may be called again."""
        if flags != 0:
            return Answer(Cuda.INVALID_VALUE)
        self.initialized = True
        return Answer(Cuda.SUCCESS)

    def driver_version(self) -> Answer:
        """cuDriverGetVersion works before cuInit (doc)."""
        return Answer(Cuda.SUCCESS, (self.host.driver.cuda_number,))

    # Devices

    def count(self) -> Answer:
        """cuDeviceGetCount."""
        return self._refusal() or Answer(Cuda.SUCCESS, (len(self.host.gpu),))

    def device(self, ordinal: int) -> Answer:
        """cuDeviceGet: a CUdevice is its ordinal."""
        return self._refusal(ordinal) or Answer(Cuda.SUCCESS, (ordinal,))

    def attribute(self, attribute: int, device: int) -> Answer:
        """cuDeviceGetAttribute, for those that the host states."""
        if refusal := self._refusal(device):
            return refusal
        gpu = self.gpus[device]
        domain, bus, slot = gpu.pci_numbers
        known = {
            COMPUTE_CAPABILITY_MAJOR: gpu.compute_numbers[0],
            COMPUTE_CAPABILITY_MINOR: gpu.compute_numbers[1],
            PCI_BUS_ID: bus,
            PCI_DEVICE_ID: slot,
            PCI_DOMAIN_ID: domain,
            VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED: 1,
        }
        return Answer(Cuda.SUCCESS, (known[attribute],)) if attribute in known else Answer(Cuda.INVALID_VALUE)

    def name(self, length: int, device: int) -> Answer:
        """cuDeviceGetName: cut and ended with a NUL (doc); no room at all is an error."""
        if refusal := self._refusal(device):
            return refusal
        return text_answer(self.gpus[device].name, length) if length > 0 else Answer(Cuda.INVALID_VALUE)

    def uuid(self, device: int) -> Answer:
        """cuDeviceGetUuid."""
        return self._refusal(device) or Answer(Cuda.SUCCESS, (self.gpus[device].uuid,))

    def total(self, device: int) -> Answer:
        """cuDeviceTotalMem: without what the driver reserves."""
        return self._refusal(device) or Answer(Cuda.SUCCESS, (self._total(device),))

    def _total(self, device: int) -> int:
        gpu = self.gpus[device]
        return (gpu.memory_mib - gpu.reserved_mib) * MIB

    def pci_bus_id(self, length: int, device: int) -> Answer:
        """cuDeviceGetPCIBusId: at least 13 bytes (doc), four digits of domain."""
        if refusal := self._refusal(device):
            return refusal
        return Answer(Cuda.SUCCESS, (self.gpus[device].pci,)) if length >= 13 else Answer(Cuda.INVALID_VALUE)

    # Contexts

    def create(self, thread: Thread, device: int) -> Answer:
        """cuCtxCreate: the new context is pushed (doc)."""
        if refusal := self._refusal(device):
            return refusal
        handle = self._new_handle()
        self.contexts[handle] = Context(device, primary=False)
        self.stacks.setdefault(thread, []).append(handle)
        return Answer(Cuda.SUCCESS, (handle,))

    def destroy(self, thread: Thread, handle: int) -> Answer:
        """cuCtxDestroy: popped if current to the caller; other threads keep the dead handle (doc).

        A primary context is not destroyed by its handle. NULL is refused before all else (measured on 535.261.03).
        """
        if handle == 0:
            return Answer(Cuda.INVALID_VALUE)
        if refusal := self._refusal() or self._refused_context(handle):
            return refusal
        if self.contexts[handle].primary:
            return Answer(Cuda.INVALID_CONTEXT)
        self._destroy(handle)
        if self._current(thread) == handle:
            self.stacks[thread].pop()
        return Answer(Cuda.SUCCESS)

    def current(self, thread: Thread) -> Answer:
        """cuCtxGetCurrent: NULL where there is none (doc), a destroyed one still (measured by lupine on 590.48.01)."""
        return self._refusal() or Answer(Cuda.SUCCESS, (self._current(thread),))

    def set_current(self, thread: Thread, handle: int) -> Answer:
        """cuCtxSetCurrent: replaces the top; NULL pops, and is nothing on an empty stack (doc)."""
        if refusal := self._refusal() or (self._refused_context(handle) if handle != NULL else None):
            return refusal
        stack = self.stacks.setdefault(thread, [])
        if stack:
            stack.pop()
        if handle != NULL:
            stack.append(handle)
        return Answer(Cuda.SUCCESS)

    def push(self, thread: Thread, handle: int) -> Answer:
        """cuCtxPushCurrent: NULL is an invalid value (cuda-python's tests)."""
        if refusal := self._refusal():
            return refusal
        if handle == NULL:
            return Answer(Cuda.INVALID_VALUE)
        if refusal := self._refused_context(handle):
            return refusal
        self.stacks.setdefault(thread, []).append(handle)
        return Answer(Cuda.SUCCESS)

    def pop(self, thread: Thread) -> Answer:
        """cuCtxPopCurrent: with an empty stack there is no context to pop (doc)."""
        if refusal := self._refusal():
            return refusal
        if self._current(thread) == NULL:
            return Answer(Cuda.INVALID_CONTEXT)
        return Answer(Cuda.SUCCESS, (self.stacks[thread].pop(),))

    def _refused_current(self, thread: Thread) -> Answer | None:
        return self._refusal() or self._refused_context(self._current(thread))

    def context_device(self, thread: Thread) -> Answer:
        """cuCtxGetDevice."""
        refusal = self._refused_current(thread)
        return refusal or Answer(Cuda.SUCCESS, (self.contexts[self._current(thread)].device,))

    # Primary contexts

    def retain(self, device: int) -> Answer:
        """cuDevicePrimaryCtxRetain: nothing is pushed; the handle is the same after a reset (lupine, 590.48.01)."""
        if refusal := self._refusal(device):
            return refusal
        primary = self.primaries[device]
        if primary.handle == NULL:
            primary.handle = self._new_handle()
            self.contexts[primary.handle] = Context(device, primary=True)
        self.contexts[primary.handle].alive = primary.active = True
        primary.references += 1
        return Answer(Cuda.SUCCESS, (primary.handle,))

    def release(self, device: int) -> Answer:
        """cuDevicePrimaryCtxRelease: destroyed with the last reference, never popped (doc)."""
        if refusal := self._refusal(device):
            return refusal
        primary = self.primaries[device]
        if primary.references == 0:
            return Answer(Cuda.INVALID_CONTEXT)
        primary.references -= 1
        if primary.references == 0:
            self._end_primary(primary)
        return Answer(Cuda.SUCCESS)

    def _end_primary(self, primary: Primary) -> None:
        if primary.active:
            self._destroy(primary.handle)
            primary.active = False

    def reset(self, device: int) -> Answer:
        """cuDevicePrimaryCtxReset: destroyed under whoever uses it; "does not release it" (doc)."""
        if refusal := self._refusal(device):
            return refusal
        self._end_primary(self.primaries[device])
        return Answer(Cuda.SUCCESS)

    def primary_state(self, device: int) -> Answer:
        """cuDevicePrimaryCtxGetState: flags (never set here) and whether it is active."""
        return self._refusal(device) or Answer(Cuda.SUCCESS, (0, int(self.primaries[device].active)))

    # Memory

    def _free(self, device: int) -> int:
        allocated = sum(a.size for a in self.allocations.values() if self.contexts[a.context].device == device)
        return self._total(device) - self.gpus[device].used_mib * MIB - allocated

    def memory_info(self, thread: Thread) -> Answer:
        """cuMemGetInfo: free, then total, of the current context's device."""
        if refusal := self._refused_current(thread):
            return refusal
        device = self.contexts[self._current(thread)].device
        return Answer(Cuda.SUCCESS, (self._free(device), self._total(device)))

    def allocate(self, thread: Thread, size: int) -> Answer:
        """cuMemAlloc: no bytes are an invalid value (doc)."""
        if refusal := self._refused_current(thread):
            return refusal
        if size == 0:
            return Answer(Cuda.INVALID_VALUE)
        context = self._current(thread)
        if size > self._free(self.contexts[context].device):
            return Answer(Cuda.OUT_OF_MEMORY)
        handle = self._new_handle()
        self.allocations[handle] = Allocation(context, size)
        return Answer(Cuda.SUCCESS, (handle,))

    def free(self, thread: Thread, handle: int) -> Answer:
        """cuMemFree of an address that an allocation of a living context has, or no longer has."""
        if refusal := self._refused_current(thread):
            return refusal
        if handle not in self.allocations:
            return Answer(Cuda.INVALID_VALUE)
        del self.allocations[handle]
        return Answer(Cuda.SUCCESS)


@dataclass
class ReferenceNvml:
    """NVML in one process. The handle of a device is its index plus 1."""

    host: Host
    count_of_inits: int = 0

    def _refusal(self) -> Answer | None:
        return None if self.count_of_inits > 0 else Answer(Nvml.UNINITIALIZED)

    def init(self, _form: str) -> Answer:
        """nvmlInit, nvmlInit_v2, nvmlInitWithFlags: each counts, whatever its form (doc)."""
        self.count_of_inits += 1
        return Answer(Nvml.SUCCESS)

    def shutdown(self) -> Answer:
        """nvmlShutdown: one more than inits is an error (doc's list of codes, cuda-python's tests)."""
        if refusal := self._refusal():
            return refusal
        self.count_of_inits -= 1
        return Answer(Nvml.SUCCESS)

    def driver_version(self, length: int) -> Answer:
        """nvmlSystemGetDriverVersion."""
        return self._refusal() or self._text(self.host.driver.version, length)

    def nvml_version(self, length: int) -> Answer:
        """nvmlSystemGetNVMLVersion works before nvmlInit (doc)."""
        return self._text(self.host.driver.nvml, length)

    def cuda_version(self) -> Answer:
        """nvmlSystemGetCudaDriverVersion needs no nvmlInit (doc); where the driver is there it answers as CUDA does."""
        return Answer(Nvml.SUCCESS, (self.host.driver.cuda_number,))

    @staticmethod
    def _text(text: str, length: int) -> Answer:
        """A string, never cut: a buffer without room for it and its NUL is an error (doc)."""
        return Answer(Nvml.SUCCESS, (text,)) if len(text.encode()) < length else Answer(Nvml.INSUFFICIENT_SIZE)

    def count(self) -> Answer:
        """nvmlDeviceGetCount."""
        return self._refusal() or Answer(Nvml.SUCCESS, (len(self.host.gpu),))

    def by_index(self, index: int) -> Answer:
        """nvmlDeviceGetHandleByIndex."""
        if refusal := self._refusal():
            return refusal
        return Answer(Nvml.SUCCESS, (index + 1,)) if index < len(self.host.gpu) else Answer(Nvml.INVALID_ARGUMENT)

    def _found(self, key: str, value: str) -> Answer:
        values = [getattr(gpu, key) for gpu in self.host.gpu]
        return Answer(Nvml.SUCCESS, (values.index(value) + 1,)) if value in values else Answer(Nvml.NOT_FOUND)

    def by_uuid(self, uuid: str) -> Answer:
        """nvmlDeviceGetHandleByUUID."""
        return self._refusal() or self._found("nvml_uuid", uuid)

    def by_pci(self, pci: str) -> Answer:
        """nvmlDeviceGetHandleByPciBusId, asked in the form with four digits of domain."""
        return self._refusal() or self._found("pci", pci)

    def _device(self, handle: int) -> Gpu | Answer:
        if refusal := self._refusal():
            return refusal
        known = 1 <= handle <= len(self.host.gpu)
        return self.host.gpu[handle - 1] if known else Answer(Nvml.INVALID_ARGUMENT)

    def name(self, handle: int, length: int) -> Answer:
        """nvmlDeviceGetName."""
        gpu = self._device(handle)
        return gpu if isinstance(gpu, Answer) else self._text(gpu.name, length)

    def uuid(self, handle: int, length: int) -> Answer:
        """nvmlDeviceGetUUID."""
        gpu = self._device(handle)
        return gpu if isinstance(gpu, Answer) else self._text(gpu.nvml_uuid, length)

    def pci(self, handle: int) -> Answer:
        """nvmlDeviceGetPciInfo_v3: domain, bus, device, and busId with eight digits of domain."""
        gpu = self._device(handle)
        if isinstance(gpu, Answer):
            return gpu
        return Answer(Nvml.SUCCESS, (*gpu.pci_numbers, f"0000{gpu.pci.upper()}"))

    def memory(self, handle: int) -> Answer:
        """nvmlDeviceGetMemoryInfo (v1): total, free, used; what the driver reserves counts as used."""
        gpu = self._device(handle)
        if isinstance(gpu, Answer):
            return gpu
        used = (gpu.reserved_mib + gpu.used_mib) * MIB
        return Answer(Nvml.SUCCESS, (gpu.memory_mib * MIB, gpu.memory_mib * MIB - used, used))
