"""The strategies and the profiles: what they promise about each value."""

from typing import Any

from hypothesis import Phase, find, given, settings

from vgpu_harness.fuzz import strategies
from vgpu_harness.host import Host


@given(strategies.hosts())
def test_hosts_are_sound_and_round_trip(host: Host) -> None:
    """Each host passes its own validation again, and no two GPUs share an address or a UUID."""
    assert Host(**host.model_dump()) == host
    for key in ("pci", "uuid", "nvml_uuid", "minor"):
        assert len({getattr(gpu, key) for gpu in host.gpu}) == len(host.gpu)


@given(strategies.hosts())
def test_hosts_are_found_by_every_client(host: Host) -> None:
    """Driver, compute capability and memory are such that no client has a reason to leave a GPU out."""
    assert int(host.driver.version.partition(".")[0]) >= 570
    for gpu in host.gpu:
        assert gpu.compute_numbers >= (7, 5)
        assert gpu.compute in strategies.COMPUTES
        assert gpu.memory_mib - gpu.reserved_mib - gpu.used_mib >= gpu.memory_mib // 2


def test_hosts_reach_the_corners() -> None:
    """Four GPUs, a domain of 16 bits, a name with a quote and one that is not ASCII are all found."""
    fast = settings(max_examples=2_000, database=None, deadline=None, derandomize=True, phases=[Phase.generate])
    find(strategies.hosts(), lambda host: len(host.gpu) == 4, settings=fast)
    find(strategies.hosts(), lambda host: host.gpu[0].pci_numbers[0] > 0xFF, settings=fast)
    find(strategies.hosts(), lambda host: '"' in host.gpu[0].name, settings=fast)
    find(strategies.hosts(), lambda host: not host.gpu[0].name.isascii(), settings=fast)


@given(strategies.facts())
def test_facts_are_what_a_kernel_can_say(facts: dict[str, Any]) -> None:
    """A comm has at most 15 bytes, a program's name fits the shims' buffer, and neither has a slash or NUL."""
    assert len(facts["comm"].encode()) <= 15
    assert len(facts["exe"].encode()) <= 255
    assert not set(facts["exe"] + facts["comm"]) & {"/", "\0"}


def test_profiles_are_registered() -> None:
    """`ci` finds the same in each run and prints how to reproduce it; `random` does not repeat itself."""
    ci, random = settings.get_profile("ci"), settings.get_profile("random")
    assert (ci.derandomize, ci.print_blob, ci.deadline) == (True, True, None)
    assert (random.derandomize, random.print_blob, random.deadline) == (False, True, None)
