"""Events: recorded, waited for, and the time between them."""

import time
from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, INVALID_HANDLE, CAPTURED_EVENT = 1, 400, 907
DISABLE_TIMING, INTERPROCESS, EXTERNAL = 2, 4, 1
_NULL = "measured on 535.261.03, in any state"


def event(cuda: Cuda, flags: int = 0) -> Any:
    """A new event of the current context."""
    handle = cuda.out("CUevent")
    cuda.ok("cuEventCreate", handle, flags)
    return cuda.value(handle)


def capturing(cuda: Cuda) -> Any:
    """A stream that is being captured."""
    handle = cuda.out("CUstream")
    cuda.ok("cuStreamCreate", handle, 1)
    cuda.ok("cuStreamBeginCapture_v2", cuda.value(handle), 2)
    return cuda.value(handle)


@rule(
    "cuEventQuery", "cuEventSynchronize", "cuEventDestroy", "cuEventDestroy_v2", "cuEventElapsedTime", source=_NULL,
    gpu=False,
)  # fmt: skip
def null_is_no_event(cuda: Cuda) -> None:
    """NULL is no event, whatever is asked of it, before cuInit, too."""
    for name in ("cuEventQuery", "cuEventSynchronize", "cuEventDestroy", "cuEventDestroy_v2"):
        cuda.expect(INVALID_HANDLE, name, None)
    cuda.expect(INVALID_HANDLE, "cuEventElapsedTime", cuda.out("float"), None, None)


@rule("cuEventCreate", source="cuda.h 13.5, cuEventCreate", gpu=True)
def events_have_known_flags(cuda: Cuda) -> None:
    """Events are made with known flags alone, and with CU_EVENT_INTERPROCESS not without CU_EVENT_DISABLE_TIMING."""
    cuda.context()
    cuda.check(event(cuda) != event(cuda, DISABLE_TIMING), "two events are two")
    room = cuda.out("CUevent")
    for flags in (0x100, INTERPROCESS):
        cuda.expect(INVALID_VALUE, "cuEventCreate", room, flags)
        cuda.untouched(room)


@rule(
    "cuEventRecord",
    "cuEventElapsedTime",
    "cuEventElapsedTime_v2",
    "cuEventRecordWithFlags",
    source="cuda.h 13.5, cuEventElapsedTime",
    gpu=True,
)
def time_between_events(cuda: Cuda) -> None:
    """The time between two recorded events is that which has passed; backwards it is negative."""
    cuda.context()
    for record, elapsed in (
        (("cuEventRecord",), "cuEventElapsedTime"),
        (("cuEventRecordWithFlags", 0), "cuEventElapsedTime_v2"),
    ):
        first, second, said = event(cuda), event(cuda), cuda.out("float")
        cuda.expect(INVALID_HANDLE, elapsed, said, first, second)
        cuda.untouched(said)
        cuda.ok(record[0], first, None, *record[1:])
        cuda.ok("cuEventSynchronize", first)
        time.sleep(0.02)
        cuda.ok(record[0], second, None, *record[1:])
        cuda.ok("cuEventSynchronize", second)
        cuda.ok(elapsed, said, first, second)
        cuda.check(15 <= cuda.value(said) < 60_000, f"{cuda.value(said)} ms have passed in 20 ms")
        forward = cuda.value(said)
        cuda.ok(elapsed, said, second, first)
        cuda.check(abs(cuda.value(said) + forward) < 0.01, "the time backwards is the same, negative")


@rule("cuEventElapsedTime", source="cuda.h 13.5, cuEventElapsedTime: CU_EVENT_DISABLE_TIMING", gpu=True)
def events_without_timing(cuda: Cuda) -> None:
    """Events that were made without timing have no time between them."""
    cuda.context()
    untimed, timed, said = event(cuda, DISABLE_TIMING), event(cuda), cuda.out("float")
    for handle in (untimed, timed):
        cuda.ok("cuEventRecord", handle, None)
        cuda.ok("cuEventSynchronize", handle)
    cuda.expect(INVALID_HANDLE, "cuEventElapsedTime", said, untimed, timed)
    cuda.untouched(said)


@rule(
    "cuEventRecord",
    "cuEventRecordWithFlags",
    "cuEventQuery",
    "cuEventSynchronize",
    source="cuda.h 13.5, cuStreamBeginCapture, cuThreadExchangeStreamCaptureMode: no query of a captured event",
    gpu=True,
)
def captured_events_cannot_be_waited_for(cuda: Cuda) -> None:
    """An event without work is done; one that was recorded in a capture is no event of a stream, and spoils it."""
    cuda.context()
    for query in ("cuEventQuery", "cuEventSynchronize"):
        for record in (("cuEventRecord",), ("cuEventRecordWithFlags", 0)):
            handle, stream = event(cuda), capturing(cuda)
            cuda.ok(query, handle)
            cuda.ok(record[0], handle, stream, *record[1:])
            cuda.expect(CAPTURED_EVENT, query, handle)
            cuda.expect(901, "cuStreamEndCapture", stream, cuda.out("CUgraph"))


@rule("cuEventRecordWithFlags", source="cuda.h 13.5: CU_EVENT_RECORD_EXTERNAL is invalid outside of capture", gpu=True)
def external_records_are_for_captures(cuda: Cuda) -> None:
    """CU_EVENT_RECORD_EXTERNAL makes a node of a graph that is being captured, and is invalid elsewhere."""
    cuda.context()
    handle = event(cuda)
    cuda.expect(INVALID_VALUE, "cuEventRecordWithFlags", handle, None, EXTERNAL)
    stream, graph, count = capturing(cuda), cuda.out("CUgraph"), cuda.out("size_t")
    cuda.ok("cuEventRecordWithFlags", handle, stream, EXTERNAL)
    cuda.ok("cuStreamEndCapture", stream, graph)
    cuda.ok("cuGraphGetNodes", cuda.value(graph), None, count)
    cuda.equal(cuda.value(count), 1, "the number of nodes")


@rule("cuStreamWaitEvent", source="cuda.h 13.5, cuStreamBeginCapture: dependencies between streams", gpu=True)
def waiting_joins_a_capture(cuda: Cuda) -> None:
    """A stream that waits for an event of a capture is captured from then on."""
    cuda.context()
    origin, other, handle = capturing(cuda), cuda.out("CUstream"), event(cuda)
    cuda.ok("cuStreamCreate", other, 1)
    status = cuda.out("CUstreamCaptureStatus")
    cuda.ok("cuStreamIsCapturing", cuda.value(other), status)
    cuda.equal(cuda.value(status), 0, "the status before")
    cuda.ok("cuEventRecord", handle, origin)
    cuda.ok("cuStreamWaitEvent", cuda.value(other), handle, 0)
    cuda.ok("cuStreamIsCapturing", cuda.value(other), status)
    cuda.equal(cuda.value(status), 1, "the status then")
    cuda.ok("cuStreamEndCapture", origin, cuda.out("CUgraph"))
    cuda.ok("cuStreamIsCapturing", cuda.value(other), status)
    cuda.equal(cuda.value(status), 0, "the status after the capture")


@rule("cuEventDestroy_v2", "cuEventDestroy", source="cuda.h 13.5, cuEventDestroy; our rule for the handle", gpu=True)
def destroyed_events_are_gone(cuda: Cuda) -> None:
    """An event can be destroyed; on a simulated host its handle is none from then on."""
    cuda.context()
    for name in ("cuEventDestroy_v2", "cuEventDestroy"):
        handle = event(cuda)
        cuda.ok(name, handle)
        cuda.expect(INVALID_HANDLE, name, None)
        if cuda.host is not None:
            cuda.expect(INVALID_HANDLE, "cuEventQuery", handle)
