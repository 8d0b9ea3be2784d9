"""The data set of the end-to-end tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.folders import write


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set on disk."""
    return write(tmp_path_factory.mktemp("data"))
