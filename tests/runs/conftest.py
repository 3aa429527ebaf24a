"""Every test of runs keeps what it compiled for the others."""

from collections.abc import Iterator

import pytest

from tests.tiny import programs_kept


@pytest.fixture(autouse=True, scope="package")
def _programs_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with programs_kept(tmp_path_factory):
        yield
