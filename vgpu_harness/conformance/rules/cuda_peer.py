"""Direct access of one GPU to another's memory."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, INVALID_DEVICE, INVALID_CONTEXT, PEER_UNSUPPORTED = 1, 101, 201, 217
ALREADY_ENABLED, NOT_ENABLED = 704, 705
_DOC = "cuda.h 13.5"


def _create(cuda: Cuda, flags: int = 0, device: int = 0) -> Any:
    context = cuda.out("CUcontext")
    cuda.ok("cuCtxCreate_v2", context, flags, device)
    return cuda.value(context)


def _number(cuda: Cuda, name: str, kind: str, *rest: Any, before: tuple[Any, ...] = ()) -> int:
    box = cuda.out(kind)
    cuda.ok(name, *before, box, *rest)
    return int(cuda.value(box))


@rule("cuCtxEnablePeerAccess", "cuCtxDisablePeerAccess", source=f"{_DOC}, cuCtxEnablePeerAccess", gpu=True)
def a_context_is_no_peer_of_itself(cuda: Cuda) -> None:
    """Access to a peer needs a current context, another one, and no flags; what is not enabled cannot be disabled."""
    cuda.init()
    first = _create(cuda)
    cuda.ok("cuCtxPopCurrent_v2", None)
    cuda.expect(INVALID_CONTEXT, "cuCtxEnablePeerAccess", first, 0)
    cuda.expect(INVALID_CONTEXT, "cuCtxDisablePeerAccess", first)
    cuda.ok("cuCtxPushCurrent_v2", first)
    cuda.expect((INVALID_CONTEXT, PEER_UNSUPPORTED), "cuCtxEnablePeerAccess", first, 0)
    cuda.expect(INVALID_VALUE, "cuCtxEnablePeerAccess", first, 1)
    cuda.expect((INVALID_CONTEXT, NOT_ENABLED), "cuCtxDisablePeerAccess", first)


@rule("cuCtxEnablePeerAccess", "cuCtxDisablePeerAccess", "cuDeviceCanAccessPeer", "cuDeviceGetP2PAttribute",
      source=f"{_DOC}, cuCtxEnablePeerAccess", gpu=True, host={"gpu": [{}, {}]})  # fmt: skip
def peers_are_enabled_once(cuda: Cuda) -> None:
    """Where cuDeviceCanAccessPeer says so access is enabled once and disabled once, elsewhere it is unsupported."""
    cuda.init()
    if _number(cuda, "cuDeviceGetCount", "int") < 2:
        return
    access = _number(cuda, "cuDeviceCanAccessPeer", "int", 0, 1)
    cuda.equal(_number(cuda, "cuDeviceGetP2PAttribute", "int", 2, 0, 1), access, "the attribute of access")
    cuda.equal(_number(cuda, "cuDeviceCanAccessPeer", "int", 0, 0), 0, "access of a device to itself")
    peer = _create(cuda, device=1)
    _create(cuda)
    if access:
        cuda.ok("cuCtxEnablePeerAccess", peer, 0)
        cuda.expect(ALREADY_ENABLED, "cuCtxEnablePeerAccess", peer, 0)
        cuda.ok("cuCtxDisablePeerAccess", peer)
        cuda.expect(NOT_ENABLED, "cuCtxDisablePeerAccess", peer)
        cuda.ok("cuCtxEnablePeerAccess", peer, 0)
    else:
        cuda.expect(PEER_UNSUPPORTED, "cuCtxEnablePeerAccess", peer, 0)
        cuda.expect(NOT_ENABLED, "cuCtxDisablePeerAccess", peer)
    for arguments in ((0, 4711), (4711, 0)):
        cuda.expect(INVALID_DEVICE, "cuDeviceCanAccessPeer", cuda.out("int"), *arguments)
        cuda.expect(INVALID_DEVICE, "cuDeviceGetP2PAttribute", cuda.out("int"), 2, *arguments)
    for attribute in (2, 9999):  # the devices first: lupinemachines/lupine, issue 445
        cuda.expect(INVALID_DEVICE, "cuDeviceGetP2PAttribute", cuda.out("int"), attribute, 0, 0)
    cuda.expect(INVALID_VALUE, "cuDeviceGetP2PAttribute", cuda.out("int"), 4711, 0, 1)
    cuda.expect(INVALID_VALUE, "cuDeviceCanAccessPeer", None, 0, 1)
