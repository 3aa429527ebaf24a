"""What the README says of the catalogue is what the catalogue holds."""

import re
from pathlib import Path

import pytest

from selfattn_jax import catalogue

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_the_table_names_no_entry_that_is_not_there(kind):
    """It may lag behind a new entry, which `selfattn list` shows at once; it may not promise what is gone."""
    (row,) = re.findall(rf"^\| {kind} \| (.*) \|$", README, re.MULTILINE)
    assert set(row.split(", ")) <= set(catalogue.of_kind(kind))
