"""What a rule is, and the list of all rules.

from vgpu_harness.conformance.rule import Cuda, rule

@rule("cuCtxPopCurrent_v2", source="cuda.h 13.5, cuCtxPopCurrent; measured on 535.261.03", gpu=True)
def pop_of_an_empty_stack(cuda: Cuda) -> None:
    \"\"\"cuCtxPopCurrent on an empty stack answers CUDA_ERROR_INVALID_CONTEXT and leaves the output alone.\"\"\"
"""

import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from vgpu_harness.conformance.api import Cuda, Nvml
from vgpu_harness.errors import VgpuHarnessError

__all__ = ["ApiName", "Cuda", "Nvml", "Rule", "RuleError", "all_rules", "load", "rule", "select"]

ApiName = Literal["cuda", "nvml"]
_OBJECTS: dict[type, ApiName] = {Cuda: "cuda", Nvml: "nvml"}
_rules: dict[str, "Rule"] = {}


class RuleError(VgpuHarnessError, ValueError):
    """A file of rules cannot be used."""


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: its file and function, as in ``cuda_context.pop_of_an_empty_stack``.
        api: which library it is about.
        functions: the entry points whose behaviour it proves.
        source: where it comes from: a header and its version, a measurement.
        gpu: whether it needs a successful initialisation. One that does not must hold on NVIDIA's own libraries on a
            machine without a GPU, too.
        host: what the simulated host must be like, as in a host file, where the shims of this package are tested.
        says: the rule in words.
        body: does the calls; raises `vgpu_harness.conformance.api.Broken`.
    """

    name: str
    api: ApiName
    functions: tuple[str, ...]
    source: str
    gpu: bool
    host: Mapping[str, Any] | None
    says: str
    body: Callable[[Any], None]

    def to_json(self) -> dict[str, Any]:
        """What there is to say of it, as `vgpu-harness conform --json` has it."""
        return {
            "schema": 1,
            "rule": self.name,
            "api": self.api,
            "functions": list(self.functions),
            "says": self.says,
            "source": self.source,
            "gpu": self.gpu,
        }


def rule(
    *functions: str, source: str, gpu: bool, host: Mapping[str, Any] | None = None
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Makes a rule of a function of `Cuda` or `Nvml`; its docstring is the rule in words.

    Args:
        functions: the entry points that the rule proves; each one's lie (it says success and does nothing) must make
            this rule, or another one that names it, fail.
        source: where the rule comes from.
        gpu: whether it needs a successful initialisation.
        host: keys of a host file that the rule needs, as in ``{"gpu": [{}, {}]}`` for two GPUs. The shims of this
            package then show that host; any other library shows what it has.

    Raises:
        TypeError: no function is named, the source or the docstring is missing, or the parameter says no API.
        ValueError: there is a rule of that name already.
    """

    def register(body: Callable[[Any], None]) -> Callable[[Any], None]:
        name = f"{body.__module__.rpartition('.')[2]}.{body.__name__}"
        parameters = list(inspect.signature(body).parameters.values())
        api = _OBJECTS.get(parameters[0].annotation) if len(parameters) == 1 else None
        if api is None:
            raise TypeError(f"rule {name}: its parameters are {parameters}; give it one, `cuda: Cuda` or `nvml: Nvml`")
        says = " ".join((body.__doc__ or "").split())
        if not functions or not source or not says:
            raise TypeError(f"rule {name}: lacks functions, a source, or a docstring; write them")
        if name in _rules and _rules[name].body.__code__ != body.__code__:
            raise ValueError(f"rule {name}: there are two of that name; give one of them another")
        _rules[name] = Rule(name, api, functions, source, gpu, host, says, body)
        return body

    return register


def all_rules() -> Mapping[str, Rule]:
    """All rules by name: those of this package in the order of their files and lines, then those of `load`."""
    _load_own()
    return dict(_rules)


@functools.cache
def _load_own() -> None:
    from vgpu_harness.conformance import rules

    for module in sorted(pkgutil.iter_modules(rules.__path__), key=lambda found: found.name):
        importlib.import_module(f"{rules.__name__}.{module.name}")


def load(file: Path) -> None:
    """Adds the rules of a Python file, for this process.

    Raises:
        RuleError: it cannot be read, or is no Python file with rules.
    """
    _load_own()
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise RuleError(f"{file}: is no Python file; give one with functions marked @rule")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        raise RuleError(f"{file}: its rules cannot be read: {error!r}; run it with python to see where") from error
    if not any(name.startswith(f"{file.stem}.") for name in _rules):
        raise RuleError(f"{file}: has no rule; mark functions with @rule")


def select(patterns: tuple[str, ...] = ()) -> list[Rule]:
    """The rules whose name, or one of whose functions, matches one of the patterns (fnmatch); without any, all."""
    return [
        found
        for found in all_rules().values()
        if not patterns
        or any(fnmatchcase(name, pattern) for name in (found.name, *found.functions) for pattern in patterns)
    ]
