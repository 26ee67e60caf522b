"""The escape matrix under the providers that need more than a preloaded library."""

import tempfile
from pathlib import Path

import pytest
from escape import ratchet
from escape.matrix import under, where_files_are_real

from vgpu_harness.run.provider import PROVIDERS, ProviderName


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "preload"])
def test_escapes_are_the_known_ones(provider: ProviderName) -> None:
    """What the provider does not show, or not right, is listed with its reason, and nothing else is listed."""
    with tempfile.TemporaryDirectory(prefix="vgpu-escape-") as name:
        place = Path(name)
        place.chmod(0o755)  # one way is that of an ordinary user
        (place / "control").mkdir()
        control = where_files_are_real(place / "control")
        results = under(provider, place / "run")
    known = ratchet.load(list(results))
    assert provider in known, f"{provider} was never tried: PYTHONPATH=tests python -m escape --update"
    assert ratchet.differences(provider, results, known[provider], control) == []
