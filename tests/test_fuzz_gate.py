"""The process gate as pure functions: properties that hold for any facts and any policy."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from vgpu_harness.fuzz import strategies
from vgpu_harness.host import Gate as Policy
from vgpu_harness.host import Host, Tree, write_image
from vgpu_harness.shims.inprocess import Gate

Asked = Callable[[Policy], AbstractContextManager[Gate]]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Opens the gate of a host with some policy."""
    place = tmp_path_factory.mktemp("gate")
    no_files = Tree(place, ())

    @contextmanager
    def of_policy(policy: Policy) -> Iterator[Gate]:
        with NamedTemporaryFile(dir=place) as file, Gate(write_image(Host(gate=policy), no_files, file.name)) as asked:
            yield asked

    return of_policy


@given(strategies.gates(), strategies.facts())
def test_the_answer_is_that_of_the_two_questions_in_their_order(
    gate: Asked, policy: Policy, facts: dict[str, Any]
) -> None:
    """Too early exactly if it is not safe to ask; otherwise the second question decides."""
    with gate(policy) as asked:
        expected = "ready" if asked.is_application_process(**facts) else "not an application"
        if not asked.is_safe_to_check_process(**facts):
            expected = "too early"
        assert asked.ask(**facts).ready == expected


@given(strategies.gates(), strategies.facts())
def test_the_same_facts_get_the_same_answer(gate: Asked, policy: Policy, facts: dict[str, Any]) -> None:
    """The questions keep nothing: asked again, and of another mapping of the image, they answer alike."""
    with gate(policy) as asked, gate(policy) as other:
        assert asked.ask(**facts) == asked.ask(**facts) == other.ask(**facts)


@given(strategies.gates(), strategies.facts())
def test_deny_never_beats_allow(gate: Asked, policy: Policy, facts: dict[str, Any]) -> None:
    """What the allow list admits is admitted whatever the deny list has."""
    assume(facts["exe"] and not facts["secure"])
    own, starts_so = facts["exe"], f"{facts['exe'][0]}*"
    with gate(Policy(allow=policy.allow, deny=(own, starts_so))) as denied:
        admitted = denied.is_application_process(**facts)
    with gate(policy) as asked:
        assert asked.is_application_process(**facts) or not admitted
    with gate(Policy(allow=(own,), deny=(*policy.deny, own, starts_so))) as both:
        assert both.is_application_process(**facts)


@given(strategies.gates(), strategies.facts(), strategies.programs())
def test_the_name_of_the_thread_is_irrelevant_where_the_program_is_known(
    gate: Asked, policy: Policy, facts: dict[str, Any], name: str
) -> None:
    """With a program file the comm changes no answer."""
    assume(facts["exe"])
    renamed = facts | {"comm": name.encode()[:15].decode(errors="ignore")}
    with gate(policy) as asked:
        assert asked.ask(**facts) == asked.ask(**renamed)


@given(strategies.gates(), strategies.facts(), st.integers(0, 10))
def test_calls_before_is_monotone(gate: Asked, policy: Policy, facts: dict[str, Any], more: int) -> None:
    """A process that is far enough along never becomes too early by calling on."""
    later = facts | {"calls_before": min(facts["calls_before"] + more, 2**32 - 1)}
    with gate(policy) as asked:
        assert asked.is_safe_to_check_process(**later) >= asked.is_safe_to_check_process(**facts)
        first = asked.is_safe_to_check_process(**(facts | {"libc_ready": True, "calls_before": policy.calls_before}))
        assert first
        if policy.calls_before > 0:
            assert not asked.is_safe_to_check_process(**(facts | {"calls_before": policy.calls_before - 1}))


@given(strategies.gates(), strategies.facts())
@example(Policy(allow=("ollama",)), {"exe": "ollama", "comm": "ollama", "secure": True})
def test_raised_privileges_are_refused_even_where_allowed(gate: Asked, policy: Policy, facts: dict[str, Any]) -> None:
    """AT_SECURE is refused whatever the lists say."""
    with gate(policy) as asked:
        assert not asked.is_application_process(**(facts | {"secure": True}))


@given(strategies.facts())
def test_empty_lists_admit_every_program(gate: Asked, facts: dict[str, Any]) -> None:
    """Without a rule nothing is denied but raised privileges."""
    with gate(Policy(allow=(), deny=())) as asked:
        assert asked.is_application_process(**facts) == (not facts["secure"])


@given(strategies.facts(), st.text("abcxyz()-_", min_size=1, max_size=6))
def test_a_star_denies_whatever_starts_so(gate: Asked, facts: dict[str, Any], start: str) -> None:
    """``name*`` denies exactly the programs whose name begins with it."""
    assume(facts["exe"] and not facts["secure"])
    with gate(Policy(deny=(f"{start}*",))) as asked:
        assert asked.is_application_process(**facts) == (not facts["exe"].startswith(start))
        assert not asked.is_application_process(**(facts | {"exe": start}))
