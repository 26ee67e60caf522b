"""An installation of a stand-in client with libraries that say what they are told to, for tests without any shim."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.compile import compile_library
from vgpu_harness.discovery.facts import Generation
from vgpu_harness.discovery.installation import lay_out

UUID = "GPU-11111111-2222-3333-4444-555555555500"
PCI_ID = "0000:00:05.0"
GIB = 1 << 30

SUPPORT = Path(__file__).parent


def _source(name: str) -> str:
    return (SUPPORT / "fake.h").read_text() + (SUPPORT / name).read_text()


CUDA = _source("fake_cuda.c")
NVML = _source("fake_nvml.c")

_PAIR = re.compile(r'("(?:[^"\\]|\\.)*"|[^\s="]+)=("(?:[^"\\]|\\.)*"|\S*)')


def _plain(word: str) -> str:
    return word[1:-1].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\") if word.startswith('"') else word


@dataclass(frozen=True)
class Answer:
    """What one `ollama serve` wrote, and which functions of the fake libraries it called."""

    returncode: int
    stderr: str
    calls: list[str]

    @property
    def lines(self) -> list[dict[str, str]]:
        """The log lines, each a map with level, source, msg and the line's own keys."""
        return [
            {_plain(key): _plain(value) for key, value in _PAIR.findall(line)}
            for line in self.stderr.splitlines()
            if line.startswith("time=")
        ]

    def all(self, message: str) -> list[dict[str, str]]:
        """The lines whose message begins so."""
        return [line for line in self.lines if line["msg"].startswith(message)]

    def one(self, message: str) -> dict[str, str]:
        """The only line whose message begins so."""
        found = self.all(message)
        assert len(found) == 1, f"{len(found)} lines begin with {message!r} in:\n{self.stderr}"
        return found[0]


class Installation:
    """`<root>/ollama/{bin/ollama,lib/ollama/cuda_v*}` with fake libraries in lib/ollama."""

    def __init__(
        self,
        root: Path,
        generation: Generation,
        *,
        cuda: tuple[str, ...] | None = (),
        nvml: tuple[str, ...] | None = (),
        backends: tuple[str, ...] = ("cuda_v12", "cuda_v13"),
    ) -> None:
        """Args: cuda, nvml: flags to compile the fake with, None for no such library; backends: of those laid out."""
        self.root = root
        layout = lay_out(generation, root)
        self.library_directory, self.program = layout.library_directory, layout.program
        for backend in layout.backends:
            if backend.name not in backends:
                shutil.rmtree(backend)
        for soname, source, flags in (("libcuda.so.1", CUDA, cuda), ("libnvidia-ml.so.1", NVML, nvml)):
            if flags is not None:
                built = compile_library(source, soname, f"-Wl,-soname,{soname}", *flags)
                (self.library_directory / soname).symlink_to(built)

    def serve(self, *arguments: str, debug: str = "2", **environment: str) -> Answer:
        """Runs `ollama serve` once; keyword arguments are environment variables."""
        log = self.root / "calls"
        log.unlink(missing_ok=True)
        scratch = self.root / "tmp"
        scratch.mkdir(exist_ok=True)
        variables = {
            "PATH": os.environ["PATH"], "HOME": str(self.root), "LD_LIBRARY_PATH": "", "TMPDIR": str(scratch),
            "FAKE_LOG": str(log), "OLLAMA_DEBUG": debug, **environment,
        }  # fmt: skip
        command = [str(self.program), "serve", *arguments]
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=30, check=False, cwd=self.root
        )
        assert not done.stdout
        return Answer(done.returncode, done.stderr, log.read_text().split("\n")[:-1] if log.exists() else [])
