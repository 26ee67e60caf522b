"""The recordings that the oracle's tests compare: each made once."""

import pytest
from recordings import Oracle, make


@pytest.fixture(scope="session")
def recorded() -> Oracle:
    """Everything that is compared; it takes minutes."""
    return make()
