"""The table of cuGetProcAddress has the steps of cuda*Typedefs.h, each with the type that the header gives it."""

import dataclasses
import re

import pytest
from headers import ALL_FORMS, FOLDERS, Headers, complaints, headers, rows

# In the typedef headers and in no library for Linux.
ELSEWHERE = {"cuWGLGetDevice"}


@dataclasses.dataclass(frozen=True)
class Step:
    """From version `since` on, `base` means `function`."""

    base: str
    since: int
    function: str
    typedef: str


def typedefs(release: Headers) -> list[Step]:
    """The steps: PFN_<base>_v<since>, in ascending order the plain name, then NAME_v2 and so on."""
    plain: dict[str, set[int]] = {}
    twins: dict[str, set[tuple[int, str]]] = {}
    for path in release.typedef_headers():
        for base, since, suffix in re.findall(r"\bPFN_(cu\w+?)_v(\d+)(_ptsz|_ptds)?\)", path.read_text()):
            if suffix:
                twins.setdefault(base, set()).add((int(since), suffix))
            elif base not in ELSEWHERE:
                plain.setdefault(base, set()).add(int(since))
    steps = []
    for base, versions in plain.items():
        order = sorted(versions)
        names = {since: base if i == 1 else f"{base}_v{i}" for i, since in enumerate(order, 1)}
        steps += [Step(base, since, name, f"PFN_{base}_v{since}") for since, name in names.items()]
        for since, suffix in twins.get(base, ()):
            name = names[max(known for known in order if known <= since)] + suffix
            steps.append(Step(base, since, name, f"PFN_{base}_v{since}{suffix}"))
    return steps


@pytest.fixture(params=list(FOLDERS))
def release(request: pytest.FixtureRequest) -> Headers:
    """Each release of the headers."""
    return headers(request.param)


def test_every_step_is_in_the_table(release):
    """Each typedef is a row: the function, the name it is asked for by, and the first version."""
    table = {row.name: (row.base, row.since) for row in rows("cuda").values()}
    steps = typedefs(release)
    assert len(steps) > 500
    wrong = [step for step in steps if table.get(step.function) != (step.base, step.since)]
    assert wrong == []


def test_the_table_has_no_other_step():
    """A row with a version is a typedef of the newest headers or of the older ones."""
    known = {step.function for release in FOLDERS for step in typedefs(headers(release))}
    assert {row.name for row in rows("cuda").values() if row.since != 0} == known


def test_each_step_has_the_type_of_its_function(release):
    """The typedef of a step and the prototype of the function that is answered for it are one type."""
    table = rows("cuda")
    asserts = {
        step.typedef: f"__builtin_types_compatible_p({step.typedef}, CUresult (*){table[step.function].parameters})"
        for step in typedefs(release)
        if step.function in table
    }
    paths = release.typedef_headers()
    assert complaints(paths, asserts, ALL_FORMS["cuda"]) == []
    swapped = {"control": asserts["PFN_cuInit_v2000"].replace("(unsigned int Flags)", "(void)")}
    assert complaints(paths, swapped, ALL_FORMS["cuda"]) == ["control"]
