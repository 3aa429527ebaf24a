"""Every test of runs compiles quickly."""

from collections.abc import Iterator

import pytest

from tests.tiny import compiled_quickly


@pytest.fixture(autouse=True, scope="package")
def _quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with compiled_quickly(tmp_path_factory):
        yield
