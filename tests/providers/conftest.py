"""What the tests of the providers share."""

from pathlib import Path

import pytest
from programs import go_reader


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built once."""
    return go_reader(tmp_path_factory.mktemp("go"))
