"""What other drivers share with CUDA: errors that come first."""

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, NOT_INITIALIZED, INVALID_HANDLE = 1, 3, 400
OPAQUE_FD = 1
_DISCONNECT = ("cuEGLStreamConsumerDisconnect", "cuEGLStreamProducerDisconnect")


@rule(*_DISCONNECT, "cuEGLStreamConsumerAcquireFrame", "cuEGLStreamConsumerReleaseFrame",
      "cuEGLStreamProducerReturnFrame", source="measured on 535.261.03", gpu=False)  # fmt: skip
def no_connection(cuda: Cuda) -> None:
    """NULL, and a connection that is none, are CUDA_ERROR_INVALID_HANDLE before cuInit, too."""
    for connection in (None, cuda.struct("CUeglStreamConnection")):
        for name in _DISCONNECT:
            cuda.expect(INVALID_HANDLE, name, connection)
        cuda.expect(INVALID_HANDLE, "cuEGLStreamConsumerAcquireFrame", connection, None, None, 0)
        cuda.expect(INVALID_HANDLE, "cuEGLStreamConsumerReleaseFrame", connection, None, None)
        cuda.expect(INVALID_HANDLE, "cuEGLStreamProducerReturnFrame", connection, None, None)


@rule("cuEGLStreamConsumerConnect", "cuEGLStreamConsumerConnectWithFlags", "cuEGLStreamProducerConnect",
      source="measured on 535.261.03", gpu=False)  # fmt: skip
def no_stream_to_connect_to(cuda: Cuda) -> None:
    """Without a stream it is CUDA_ERROR_INVALID_HANDLE, with one CUDA_ERROR_NOT_INITIALIZED, room or not."""
    stream = 0x1000
    for room in (None, cuda.struct("CUeglStreamConnection")):
        for given, code in ((None, INVALID_HANDLE), (stream, NOT_INITIALIZED)):
            cuda.expect(code, "cuEGLStreamConsumerConnect", room, given)
            cuda.expect(code, "cuEGLStreamProducerConnect", room, given, 1, 1)
            cuda.expect(code, "cuEGLStreamConsumerConnectWithFlags", room, given, 0)
        cuda.expect(INVALID_VALUE, "cuEGLStreamConsumerConnectWithFlags", room, stream, 4711)


@rule("cuDestroyExternalMemory", "cuDestroyExternalSemaphore", "cuExternalMemoryGetMappedBuffer",
      "cuExternalMemoryGetMappedMipmappedArray", "cuImportExternalMemory", "cuImportExternalSemaphore",
      source="measured on 535.261.03", gpu=False)  # fmt: skip
def nothing_external_before_init(cuda: Cuda) -> None:
    """Before cuInit each question about external memory and semaphores is CUDA_ERROR_NOT_INITIALIZED."""
    for name, count in (("cuDestroyExternalMemory", 1), ("cuDestroyExternalSemaphore", 1),
                        ("cuExternalMemoryGetMappedBuffer", 3), ("cuExternalMemoryGetMappedMipmappedArray", 3),
                        ("cuImportExternalMemory", 2), ("cuImportExternalSemaphore", 2)):  # fmt: skip
        cuda.expect(NOT_INITIALIZED, name, *[None] * count)
