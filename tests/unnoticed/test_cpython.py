"""CPython's own tests give the same results with the shims as without."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from both import require_an_ordinary_user
from cpython import ATTEMPTS, PARTS, PATIENCE, Part, differing
from support.compile import compile_library

pytestmark = pytest.mark.timeout(4 * ATTEMPTS * PATIENCE)

# What a careless wrapper does: another call between the real one and its caller takes errno.
CARELESS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/types.h>
int mkdir(const char *path, mode_t mode) {
    int (*real)(const char *, mode_t) = (int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir");
    int answer = real(path, mode);
    errno = ENOTTY;
    return answer;
}
"""


@pytest.mark.parametrize("name", PARTS)
def test_the_same_results(name: str, near_the_root: Path, record_property: Callable[[str, object], None]) -> None:
    """Each test of CPython's passes, fails or is skipped with the shims as it does without.

    Where one does not, the part is run again, without and with. Results that change without the shims are the
    test's own; all that differed once is named at the end of the session.
    """
    require_an_ordinary_user()
    part = Part(name, near_the_root)
    plain, shimmed = part.plain(), part.shimmed()
    assert len(plain) >= 5, plain
    ends = Counter(plain.values())
    record_property("results", f"{name}: " + ", ".join(f"{number} {end}" for end, number in sorted(ends.items())))
    for line in part.hung:
        record_property("hung", f"{name}: {line}")
    if first := differing(plain, shimmed):
        again = part.plain()
        flaky = differing(plain, again)
        record_property("differed", f"{name}: in the first pair of runs {first}; without the shims alone {flaky}")
        second = differing(again, part.shimmed())
        assert not {test: (two, second[test]) for test, two in first.items() if test in second and test not in flaky}


def test_a_disturbance_is_noticed(near_the_root: Path) -> None:
    """A library behind the shims that loses mkdir's errno changes results, and the same comparison says which."""
    require_an_ordinary_user()
    part = Part("test_tempfile", near_the_root)
    careless = compile_library(CARELESS, "libcareless.so")
    found = differing(part.plain(), part.shimmed(LD_PRELOAD=str(careless)))
    assert found["test.test_tempfile.TestMkdtemp.test_collision_with_existing_directory"] == ("passed", "error")
