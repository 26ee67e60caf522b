"""What a rule calls: the entry points of one library, and what it may claim about their answers.

Memory for outputs is full of a poison before a call, so that an answer that says success and writes nothing is noticed.
"""

import itertools
import os
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, ClassVar

from vgpu_harness._wire import ffi
from vgpu_harness.conformance.library import POISON, Library, content, passed, shown, shown_answer

if TYPE_CHECKING:
    from vgpu_harness.host import Host


class Broken(Exception):  # noqa: N818 - a rule's finding, not an error of the program
    """A library broke the rule; the message says what was wanted and what there was."""


class Api:
    """The entry points of one library by name, memory for their outputs, and claims.

    Arguments are Python numbers, str and bytes (for ``const char *``, ``const void *``), memory of `out` and `struct`,
    values of `value`, and None for NULL. A number given for a pointer is its address: a handle that nobody gave out.

    Args:
        library: the library, loaded.
        host: the simulated host that it shows, None if it is a foreign library: then only what is plausible can be
            claimed, not exact values.
        tell: is given each call before it is made, and each answer, for the log.
        silence: for a control, a function and which of its calls, by number, are not made, but answered with success
            (a text: NULL); those past the list's end, too.
    """

    success: ClassVar[int] = 0
    ffi = ffi
    null = ffi.NULL

    def __init__(
        self,
        library: Library,
        host: "Host | None",
        tell: Callable[[dict[str, Any]], None],
        silence: tuple[str, list[bool]] | None = None,
    ) -> None:
        self._library = library
        self.host = host
        self._tell = tell
        self._silence = silence
        self._silenced = itertools.count()
        self._boxes: dict[int, tuple[Any, bytes]] = {}

    # Calls

    def has(self, name: str) -> bool:
        """Does the library export the function?"""
        return self._library.has(name)

    def call(self, name: str, *arguments: Any) -> int:
        """Calls an entry point and answers its code, whatever that is."""
        return int(self._do(name, arguments))

    def says(self, name: str, *arguments: Any) -> str | None:
        """Calls an entry point that answers a text (nvmlErrorString): the text, None for NULL."""
        text = self._do(name, arguments)
        return None if text == ffi.NULL else str(ffi.string(text).decode("utf-8", "backslashreplace"))

    def _do(self, name: str, arguments: tuple[Any, ...]) -> Any:
        function = self._library.function(name)
        kinds = ffi.typeof(function).args
        if len(kinds) != len(arguments):
            raise TypeError(
                f"{name} takes {len(kinds)} arguments, the rule gives {len(arguments)}; see its declaration"
            )
        by = threading.get_native_id()
        self._tell({"call": name, "arguments": [shown(argument) for argument in arguments], "by": by})
        kept = [passed(kind, argument) for kind, argument in zip(kinds, arguments, strict=True)]
        process = os.getpid()
        answer = ffi.cast(ffi.typeof(function).result, 0) if self._is_silent(name) else function(*kept)
        if os.getpid() != process:
            os._exit(0)  # the function has forked and come back twice: the rule goes on once
        known = [box for box in arguments if id(box) in self._boxes]
        self._tell({"answer": shown_answer(answer), "outputs": [content(box) for box in known], "by": by})
        return answer

    def _is_silent(self, name: str) -> bool:
        if self._silence is None or self._silence[0] != name:
            return False
        number = next(self._silenced)
        return number >= len(self._silence[1]) or self._silence[1][number]

    def expect(self, codes: int | Collection[int], name: str, *arguments: Any) -> int:
        """Calls an entry point, which must answer the code, or one of the codes; answers which.

        Raises:
            Broken: it answers another one.
        """
        wanted = (codes,) if isinstance(codes, int) else tuple(codes)
        code = self.call(name, *arguments)
        if code not in wanted:
            raise Broken(f"{name} answers {code}, not {' or '.join(map(str, wanted))}")
        return code

    def ok(self, name: str, *arguments: Any) -> None:
        """Calls an entry point, which must answer success."""
        self.expect(self.success, name, *arguments)

    # Memory

    def out(self, kind: str, count: int = 1, **fields: Any) -> Any:
        """Memory for `count` outputs of a C type, full of a poison, but for the fields that are given.

        Args:
            kind: the C type of one of them: ``CUcontext``, ``unsigned int``, ``char``.
            count: how many.
            fields: values of fields of the first one, for a struct: ``version=...``.
        """
        box = ffi.new(f"{kind}[]", count)
        ffi.memmove(box, bytes([POISON]) * ffi.sizeof(box), ffi.sizeof(box))
        for name, value in fields.items():
            setattr(box[0], name, value)
        return self._remember(box)

    def struct(self, kind: str, **fields: Any) -> Any:
        """A struct, zeroed but for the fields that are given: a pointer to it."""
        box = ffi.new(f"{kind}[]", 1)
        for name, value in fields.items():
            setattr(box[0], name, value)
        return self._remember(box)

    def _remember(self, box: Any) -> Any:
        self._boxes[id(box)] = (box, bytes(ffi.buffer(box)))
        return box

    def value(self, box: Any) -> Any:
        """What an output is now: an int, a cffi pointer, or a cffi struct.

        Raises:
            Broken: it is still what it was before the call.
        """
        self._check_written(box)
        return box[0]

    def values(self, box: Any, count: int | None = None) -> list[Any]:
        """The first `count` of several outputs, without it all of them; each must have been written."""
        size = ffi.sizeof(ffi.typeof(box).item)
        raw = bytes(ffi.buffer(box))
        for i in range(len(box) if count is None else count):
            if raw[i * size : (i + 1) * size] == bytes([POISON]) * size:
                raise Broken(f"output {i} of {len(box)} ({ffi.typeof(box).item.cname}) has not been written")
        return [box[i] for i in range(len(box) if count is None else count)]

    def text(self, box: Any) -> str:
        """The NUL-terminated text of an output of char.

        Raises:
            Broken: nothing was written, no NUL is there, or it is not UTF-8.
        """
        self._check_written(box)
        raw, nul, _ = bytes(ffi.buffer(box)).partition(b"\0")
        if not nul:
            raise Broken(f"a text has no NUL within its {len(box)} bytes: {raw!r}")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise Broken(f"a text is not UTF-8: {raw!r}") from None

    def string(self, pointer: Any) -> str:
        """The NUL-terminated text that a ``const char *`` of the library points to.

        Raises:
            Broken: it is NULL.
        """
        if pointer == ffi.NULL:
            raise Broken("a text is NULL")
        return str(ffi.string(ffi.cast("char *", pointer)).decode("utf-8", "backslashreplace"))

    def untouched(self, box: Any) -> None:
        """Claims that a call has left an output alone."""
        if bytes(ffi.buffer(box)) != self._boxes[id(box)][1]:
            raise Broken(f"an output of {ffi.typeof(box).item.cname} was written: it is {content(box)}")

    def _check_written(self, box: Any) -> None:
        before = self._boxes[id(box)][1]
        if POISON in before and bytes(ffi.buffer(box)) == before:
            raise Broken(f"an output of {ffi.typeof(box).item.cname} has not been written")

    # Claims

    def equal(self, got: Any, wanted: Any, what: str) -> None:
        """Claims that a value is what it should be."""
        if got != wanted:
            raise Broken(f"{what} is {got!r}, not {wanted!r}")

    def check(self, condition: object, what: str) -> None:
        """Claims that `what` is true."""
        if not condition:
            raise Broken(f"not true: {what}")

    # The process

    def setenv(self, name: str, value: str | None) -> None:
        """Sets a variable of this process, or unsets it; before the call that reads it, as CUDA_VISIBLE_DEVICES."""
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

    def in_fork(self, action: Callable[[], int]) -> int:
        """What `action` answers in a forked child of this process: a number from 0 to 65535.

        Raises:
            Broken: the child crashed, or the action broke a rule there.
        """
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, str(action()).encode())
            except Exception as error:
                os.write(writer, f"in a forked child: {error}".encode())
            finally:
                os._exit(0)
        os.close(writer)
        said = b"".join(iter(lambda: os.read(reader, 4096), b"")).decode()
        os.close(reader)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != 0 or not said.lstrip("-").isdigit():
            raise Broken(said or f"a forked child ended with {status}")
        return int(said)

    def in_thread(self, action: Callable[[], Any]) -> Any:
        """What `action` answers in another thread; what it raises there, it raises here."""
        answers: list[Any] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                answers.append(action())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return answers[0]


class Cuda(Api):
    """The CUDA driver API."""

    def init(self) -> None:
        """cuInit(0), which must answer 0."""
        self.ok("cuInit", 0)

    def device(self, ordinal: int = 0) -> int:
        """cuInit(0) and cuDeviceGet: the device."""
        self.init()
        device = self.out("CUdevice")
        self.ok("cuDeviceGet", device, ordinal)
        return int(self.value(device))

    def context(self, ordinal: int = 0) -> Any:
        """cuInit(0), and the device's primary context, retained and made current: the context."""
        device = self.device(ordinal)
        context = self.out("CUcontext")
        self.ok("cuDevicePrimaryCtxRetain", context, device)
        self.ok("cuCtxSetCurrent", self.value(context))
        return self.value(context)


class Nvml(Api):
    """NVML."""

    def init(self) -> None:
        """nvmlInit_v2, which must answer 0."""
        self.ok("nvmlInit_v2")

    def device(self, index: int = 0) -> Any:
        """nvmlInit_v2 and nvmlDeviceGetHandleByIndex_v2: the handle."""
        self.init()
        device = self.out("nvmlDevice_t")
        self.ok("nvmlDeviceGetHandleByIndex_v2", index, device)
        return self.value(device)
