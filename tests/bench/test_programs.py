"""What is timed: the output and every gradient, of one set of numbers."""

import jax
import numpy as np
import pytest
from flax import nnx

from selfattn_jax.attention import attention
from selfattn_jax.bench import programs
from selfattn_jax.bench.contestants import Reference, contestants
from selfattn_jax.bench.programs import check_module, compile_module, draw
from selfattn_jax.functional.bind import bind, lead
from selfattn_jax.functional.modifiers import temperature
from selfattn_jax.modules import Attention
from selfattn_jax.modules.pieces import Temperature
from tests.bench.fake import settings

DATA = draw(settings(), 16)


def test_gradients_of_a_mixers_parameters_are_part_of_what_is_timed():
    module = Attention(modifiers=[Temperature(2, temperature=2.0)])
    program = compile_module(module, "forward_backward", False, DATA)
    output, (parameters, *others) = program.call()

    def total(logs: jax.Array, *inputs: jax.Array) -> jax.Array:
        cooled = bind(temperature, temperature=lead(jax.numpy.exp(logs), "H"))
        return (attention(*inputs, modifiers=[cooled]) * DATA.cotangent).sum()

    wanted = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3)))(jax.numpy.log(jax.numpy.full(2, 2.0)), *DATA[:3])
    (found,) = jax.tree.leaves(parameters)
    assert program.parameters == 2 and float(abs(found).min()) > 1e-3
    for gradient, expected in zip((found, *others), wanted, strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-4)
    np.testing.assert_allclose(output, compile_module(module, "forward", False, DATA).call(), atol=1e-6)


def test_a_program_tells_its_compile_time_and_its_memory():
    one = contestants(["dense"])[0].compile("forward_backward", settings(), DATA)
    assert one.seconds is not None and one.seconds > 0
    assert one.temporary_bytes is not None and one.temporary_bytes >= 4 * 2 * 16 * 16  # the weights
    assert one.parameters == 0


@pytest.mark.parametrize("label", ["jax.nn", "flax", "dense", "rows"])
def test_forms_and_references_compute_the_same(label: str):
    (one,) = contestants([label])
    changed = settings(causal=True)
    program = one.compile("forward", changed, DATA)
    scores = np.einsum("bthk,bshk->bhts", DATA.query, DATA.key) / 8**0.5
    scores = np.where(np.tril(np.ones((16, 16), bool)), scores, -np.inf)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(program.call(), np.einsum("bhts,bshk->bthk", weights, DATA.value), atol=1e-5)


def test_a_program_that_the_machine_cannot_hold_is_not_begun(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(programs, "memory_bytes", lambda: 100)
    with pytest.raises(MemoryError, match=r"needs .* of memory, this machine has 100 B"):
        compile_module(Attention(), "forward_backward", False, DATA)


def test_the_check_computes_nothing_but_finds_what_is_wrong():
    def refuse(query: jax.Array, *_: jax.Array, is_causal: bool) -> jax.Array:
        assert isinstance(query, jax.core.Tracer) and not is_causal
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        check_module(lambda: Reference(refuse), settings(), 16)
    check_module(lambda: Reference(nnx.dot_product_attention), settings(), 1 << 20)
