"""Every public function of nvidia-ml-py once: the shim has it, answers a code of NVML's, and never ends the program."""

import json
import sys
from collections.abc import Callable

import pytest

from vgpu_harness import Host, Run
from vgpu_harness.host import Gpu

MakeRun = Callable[..., Run]

# Calls each function with arguments made from its parameters' names. Prints what each answered, and which C functions
# the binding has looked up meanwhile, of those that its source names.
EVERY = r"""
import ctypes, inspect, json, re
import pynvml as n
n.nvmlInit()
device = n.nvmlDeviceGetHandleByIndex(0)
pci = n.nvmlDeviceGetPciInfo(device)

def argument(name, other):
    low = name.lower()
    if "device" in low or "dev1" in low or "dev2" in low or "handle" in low:
        return device
    if low == "pciinfo":
        return pci
    if "uuid" in low:
        return n.nvmlDeviceGetUUID(device)
    if "pcibusid" in low:
        return "0000:00:05.0"
    return other

def call(function, other):
    required = [p for p in inspect.signature(function).parameters.values()
                if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    try:
        function(*[argument(p.name, other) for p in required])
    except n.NVMLError as error:
        return error.value
    return 0

OTHERS = [0, ctypes.create_string_buffer(1 << 16), [0], [0] * 32, b"name",
          n.c_nvmlActiveVgpuInstanceInfo_v1_t(), n.c_nvmlVgpuCreatablePlacementInfo_v1_t()]
answers = {}
functions = {name: f for name, f in vars(n).items() if name.startswith("nvml") and inspect.isfunction(f)}
PYTHON_ONLY = {"nvmlExceptionClass", "nvmlFriendlyObjectToStruct", "nvmlStructToFriendlyObject"}
for name in sorted(set(functions) - PYTHON_ONLY - {"nvmlInit", "nvmlInitWithFlags", "nvmlShutdown"}):
    for other in OTHERS:
        try:
            answers[name] = call(functions[name], other)
            break
        except (TypeError, AttributeError, ValueError):
            continue
    else:
        answers[name] = "no arguments fit"
n.nvmlShutdown()
named = set(re.findall(r'_nvmlGetFunctionPointer\("(\w+)"\)', inspect.getsource(n)))
asked = set(n._nvmlGetFunctionPointer_cache)
print(json.dumps({"answers": answers, "never asked for": sorted(named - asked), "asked": len(asked)}))
"""


def every(vgpu_run: MakeRun, host: Host | None = None) -> dict[str, dict[str, int]]:
    """Calls all functions on the simulated host; the program must end well."""
    run = vgpu_run([sys.executable, "-c", EVERY], host=host)
    assert run.returncode == 0, run.explain()
    return json.loads(run.stdout)


@pytest.mark.parametrize("profile", ["h100-80gb-hbm3", "rtx4090-24gb"])
def test_every_function_is_there_and_answers(vgpu_run: MakeRun, profile: str) -> None:
    """No function is missing (13), uninitialised (1) or an unknown error (999), on a board with MIG and one without."""
    said = every(vgpu_run, Host(gpu=(Gpu(profile=profile),)))
    answers = said["answers"]
    assert len(answers) > 400
    assert {name: code for name, code in answers.items() if code in {1, 13, 999, "no arguments fit"}} == {}
    assert sum(code == 0 for code in answers.values()) > 110


def test_a_missing_function_is_noticed(vgpu_run: MakeRun) -> None:
    """The control: a shim without one of them is told by the binding's FUNCTION_NOT_FOUND (13)."""
    from vgpu_harness.host.faults import SymbolFault

    host = Host(faults=(SymbolFault(library="nvml", missing_symbol="nvmlDeviceGetFanSpeed"),))
    answers = every(vgpu_run, host)["answers"]
    assert [name for name, code in answers.items() if code == 13] == ["nvmlDeviceGetFanSpeed"]
