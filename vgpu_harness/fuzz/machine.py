"""A Hypothesis state machine that calls the CUDA driver and NVML in any order and compares with the reference."""

import itertools
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, initialize, invariant, multiple, rule

from vgpu_harness.fuzz.answer import Answer
from vgpu_harness.fuzz.reference import (
    COMPUTE_CAPABILITY_MAJOR,
    COMPUTE_CAPABILITY_MINOR,
    NULL,
    PCI_BUS_ID,
    PCI_DEVICE_ID,
    PCI_DOMAIN_ID,
    VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
    ReferenceCuda,
    ReferenceNvml,
)
from vgpu_harness.fuzz.strategies import buffer_lengths, gpu_uuids, hosts, ordinals, pci_addresses, sizes
from vgpu_harness.fuzz.subject import THREADS, InProcessDriver
from vgpu_harness.host import Host

UNKNOWN = -1
"""The token of a handle that nobody gave out."""

ATTRIBUTES = (
    COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR, PCI_BUS_ID, PCI_DEVICE_ID, PCI_DOMAIN_ID,
    VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0, -1, 1 << 30,
)  # fmt: skip

NVML_INITS = ("nvmlInit", "nvmlInit_v2", "nvmlInitWithFlags")

threads = st.sampled_from((THREADS[0], *THREADS))
lengths = buffer_lengths()

mostly_yes = st.sampled_from((False, True, True, True))


def an_ordinal(machine: "DriverMachine") -> st.SearchStrategy[int]:
    """Mostly one of the host's devices: what is refused leads nowhere."""
    good = st.integers(0, len(machine.host.gpu) - 1)
    return st.one_of(good, good, good, ordinals())


devices_of_host = st.runner().flatmap(an_ordinal)
nobodys = st.sampled_from((NULL, UNKNOWN))


class Handles:
    """Which handle of the driver under test stands for which token of the reference."""

    def __init__(self) -> None:
        self.of_token: dict[int, int] = {NULL: 0, UNKNOWN: 0x5EED0}

    def learn(self, token: int, handle: int) -> None:
        """Both sides gave a handle out: the same one for the same token, another one for another."""
        known = self.of_token.setdefault(token, handle)
        if known != handle:
            raise AssertionError(f"handle {handle:#x} where the same was {known:#x} before")
        if list(self.of_token.values()).count(handle) > 1:
            raise AssertionError(f"handle {handle:#x} was given out already, for something else")


class DriverMachine(RuleBasedStateMachine):
    """Calls both APIs of one process on a simulated host.

    To test another driver, subclass it and set ``driver_type`` to a class that is made from a ``Host`` and has the
    methods of ``InProcessDriver``; ``hosts`` is the strategy for the hosts. ``DriverMachine.TestCase`` is a unittest
    case that pytest collects.
    """

    driver_type: ClassVar[Any] = InProcessDriver
    hosts: ClassVar[st.SearchStrategy[Host]] = hosts()
    contexts = Bundle("contexts")
    allocations = Bundle("allocations")
    devices = Bundle("devices")

    def __init__(self) -> None:
        super().__init__()
        self.driver: Any = None
        self.context_handles = Handles()
        self.memory_handles = Handles()
        self.device_handles = Handles()

    @initialize(host=st.runner().flatmap(lambda machine: machine.hosts), initialised=mostly_yes)
    def start(self, host: Host, *, initialised: bool) -> None:
        """A fresh process on a new host; most call cuInit first, as without it nearly everything is refused."""
        self.host = host
        self.cuda = ReferenceCuda(host)
        self.nvml = ReferenceNvml(host)
        self.driver = self.driver_type(host)
        if initialised:
            self.cu_init(0)

    def teardown(self) -> None:
        """Ends the process."""
        if self.driver is not None:
            self.driver.close()

    def _same(self, expected: Answer, actual: Answer) -> None:
        if actual != expected:
            raise AssertionError(f"the driver answered {actual}, the reference {expected}")

    def _same_handle(self, expected: Answer, actual: Answer, handles: Handles) -> MultipleResults[int]:
        """Compares the codes, and learns the handle that both answered; answers its token for a bundle."""
        if actual.code != 0 or expected.code != 0:
            self._same(expected, actual)
            return multiple()
        token, handle = int(expected.values[0]), int(actual.values[0])
        handles.learn(token, handle)
        return multiple(token)

    @invariant()
    def states_agree(self) -> None:
        """After each call: what both APIs say of their state, and CUDA to each thread."""
        if self.driver is None:
            return
        self._same(self.cuda.count(), self.driver.cuda.count())
        self._same(self.nvml.count(), self.driver.nvml.count())
        for thread in THREADS:
            self._same_handle(self.cuda.current(thread), self.driver.cuda.current(thread), self.context_handles)
            self._same(self.cuda.context_device(thread), self.driver.cuda.context_device(thread))
            self._same(self.cuda.memory_info(thread), self.driver.cuda.memory_info(thread))

    # The driver and its devices

    @rule(flags=st.sampled_from((0, 0, 0, 1, 2**32 - 1)))
    def cu_init(self, flags: int) -> None:
        """cuInit, mostly right."""
        self._same(self.cuda.init(flags), self.driver.cuda.init(flags))

    @rule(device=devices_of_host, attribute=st.sampled_from(ATTRIBUTES), length=lengths)
    def cu_ask(self, device: int, attribute: int, length: int) -> None:
        """The driver's version, and the questions about a device, into buffers of any length."""
        self._same(self.cuda.driver_version(), self.driver.cuda.driver_version())
        for question in ("device", "uuid", "total", "primary_state"):
            self._same(getattr(self.cuda, question)(device), getattr(self.driver.cuda, question)(device))
        for question in ("name", "pci_bus_id"):
            self._same(
                getattr(self.cuda, question)(length, device), getattr(self.driver.cuda, question)(length, device)
            )
        self._same(self.cuda.attribute(attribute, device), self.driver.cuda.attribute(attribute, device))

    # Contexts of CUDA

    @rule(target=contexts, thread=threads, device=devices_of_host)
    def cu_create(self, thread: int, device: int) -> MultipleResults[int]:
        """cuCtxCreate."""
        answers = self.cuda.create(thread, device), self.driver.cuda.create(thread, device)
        return self._same_handle(*answers, self.context_handles)

    @rule(target=contexts, device=devices_of_host)
    def cu_retain(self, device: int) -> MultipleResults[int]:
        """cuDevicePrimaryCtxRetain."""
        return self._same_handle(self.cuda.retain(device), self.driver.cuda.retain(device), self.context_handles)

    @rule(action=st.sampled_from(("release", "reset")), device=devices_of_host)
    def cu_primary(self, action: str, device: int) -> None:
        """cuDevicePrimaryCtxRelease, Reset."""
        self._same(getattr(self.cuda, action)(device), getattr(self.driver.cuda, action)(device))

    @rule(action=st.sampled_from(("push", "set_current")), thread=threads, context=contexts)
    def cu_make_current(self, action: str, thread: int, context: int) -> None:
        """cuCtxPushCurrent, cuCtxSetCurrent: a living context or a destroyed one."""
        self._with_context(action, thread, context)

    @rule(thread=threads, context=contexts)
    def cu_destroy(self, thread: int, context: int) -> None:
        """cuCtxDestroy, of such a one."""
        self._with_context("destroy", thread, context)

    @rule(action=st.sampled_from(("push", "set_current", "destroy")), thread=threads, context=nobodys)
    def cu_no_context(self, action: str, thread: int, context: int) -> None:
        """The same with none, or one that never was."""
        self._with_context(action, thread, context)

    def _with_context(self, action: str, thread: int, context: int) -> None:
        handle = self.context_handles.of_token[context]
        self._same(getattr(self.cuda, action)(thread, context), getattr(self.driver.cuda, action)(thread, handle))

    @rule(thread=threads)
    def cu_pop(self, thread: int) -> None:
        """cuCtxPopCurrent."""
        self._same_handle(self.cuda.pop(thread), self.driver.cuda.pop(thread), self.context_handles)

    # Device memory of CUDA

    @rule(target=allocations, thread=threads, size=sizes())
    def cu_allocate(self, thread: int, size: int) -> MultipleResults[int]:
        """cuMemAlloc."""
        answers = self.cuda.allocate(thread, size), self.driver.cuda.allocate(thread, size)
        return self._same_handle(*answers, self.memory_handles)

    @rule(thread=threads)
    def cu_free_nothing(self, thread: int) -> None:
        """cuMemFree of what was never allocated."""
        self._free(thread, UNKNOWN)

    @rule(thread=threads, allocation=allocations)
    def cu_free(self, thread: int, allocation: int) -> None:
        """cuMemFree, once or twice."""
        self._free(thread, allocation)

    def _free(self, thread: int, allocation: int) -> None:
        handle = self.memory_handles.of_token[allocation]
        self._same(self.cuda.free(thread, allocation), self.driver.cuda.free(thread, handle))

    # NVML

    @rule(form=st.sampled_from(NVML_INITS))
    def nvml_init(self, form: str) -> None:
        """nvmlInit in any of its forms."""
        self._same(self.nvml.init(form), self.driver.nvml.init(form))

    @rule()
    def nvml_shutdown(self) -> None:
        """nvmlShutdown."""
        self._same(self.nvml.shutdown(), self.driver.nvml.shutdown())

    @rule(target=devices, index=st.integers(0, 4) | st.just(2**32 - 1), length=lengths, data=st.data())
    def nvml_ask(self, index: int, length: int, data: st.DataObject) -> MultipleResults[int]:
        """The questions that need no handle; handles by index, UUID and address, of the host's GPUs or of others."""
        for question in ("driver_version", "nvml_version"):
            self._same(getattr(self.nvml, question)(length), getattr(self.driver.nvml, question)(length))
        self._same(self.nvml.cuda_version(), self.driver.nvml.cuda_version())
        uuid = data.draw(st.sampled_from([gpu.nvml_uuid for gpu in self.host.gpu]) | gpu_uuids(), label="uuid")
        pci = data.draw(st.sampled_from([gpu.pci for gpu in self.host.gpu]) | pci_addresses(), label="pci")
        found = [
            self._same_handle(self.nvml.by_index(index), self.driver.nvml.by_index(index), self.device_handles),
            self._same_handle(self.nvml.by_uuid(uuid), self.driver.nvml.by_uuid(uuid), self.device_handles),
            self._same_handle(self.nvml.by_pci(pci), self.driver.nvml.by_pci(pci), self.device_handles),
        ]
        return multiple(*itertools.chain(*(tokens.values for tokens in found)))

    @rule(device=devices | nobodys, length=lengths)
    def nvml_device(self, device: int, length: int) -> None:
        """The questions about a device, into buffers of any length."""
        handle = self.device_handles.of_token[device]
        for question in ("name", "uuid"):
            answers = getattr(self.nvml, question)(device, length), getattr(self.driver.nvml, question)(handle, length)
            self._same(*answers)
        for question in ("pci", "memory"):
            self._same(getattr(self.nvml, question)(device), getattr(self.driver.nvml, question)(handle))
