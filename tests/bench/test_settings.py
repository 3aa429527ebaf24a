"""What the command line says of sizes and limits: every mistake in the words of a config."""

from typing import Any

import pytest

from selfattn_jax.bench.settings import read_settings
from selfattn_jax.config import ConfigError


def test_lengths_are_read_and_put_in_order():
    assert read_settings({"lengths": "512, 64,128"}).lengths == (64, 128, 512)
    assert read_settings({"lengths": "8"}).steps == ("forward", "forward_backward")
    assert read_settings({"lengths": "8", "backward": False}).steps == ("forward",)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"lengths": "256,many"}, "lengths.1  must be a whole number, got 'many'"),
        ({"lengths": "0"}, "lengths.0  must be greater than 0, got 0"),
        ({"lengths": ""}, "lengths  must hold at least one length"),
        ({"lengths": "8,8"}, "lengths  must all be different, 8 comes twice"),
        ({"repeats": 0}, "repeats  must be greater than 0, got 0"),
        ({"budget": -1.0}, "budget  must be greater than 0, got -1.0"),
        ({"dtype": "float3"}, "did you mean float32?"),
    ],
)
def test_a_mistake_is_told_with_its_place(said: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as raised:
        read_settings({"lengths": "8", **said})
    assert str(raised.value).startswith("command line  ")
    assert message in str(raised.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as raised:
        read_settings({"lengths": "x", "heads": 0, "width": -1})
    assert len(raised.value.problems) == 3
