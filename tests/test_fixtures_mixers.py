"""Mixers against the committed outputs of other implementations; `fixtures/README.md` says how these differ.

Both the oracles and the package are compared; a case that joins a file is too, by itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from selfattn_jax import catalogue
from selfattn_jax.functional.attend import attend
from selfattn_jax.functional.bind import bind, lead, signature_of
from tests import oracles
from tests.test_fixtures import FOLDER, Case, cases_of

# What a fixture holds beside the arguments of its mixer.
FOUND = {"output", "final_state", "final_hidden", "final_cell", "weights", "buckets", "labels", "centroids"}
WHOLE = {"key_mask"}  # which all heads share


class Implementation(NamedTuple):
    """Functions of one head and one sequence; the first three by the name of the mixer."""

    mixer: Callable[[str], Callable[..., Any]]
    weights: Callable[[str], Callable[..., Any]]
    final_state: Callable[[str], Callable[..., Any]]  # without a chunk
    attend: Callable[..., Any]  # (query, key, value, mask, bias)


def attended(query, key, value, mask, bias):
    pieces = {"score": oracles.score_scaled_dot, "normalizer": oracles.normalizer_softmax}
    return oracles.attend(query, key, value, mask=mask, biases=[lambda *_: bias], **pieces)["output"]


def packaged(part: str) -> Callable[[str], Callable[..., Any]]:
    """A function of a mixer in the package, as the oracles are called; it knows no chunk if it has none."""

    def named(name: str) -> Callable[..., Any]:
        entry = catalogue.in_slot("mixer")[name]
        function = getattr(entry, part)

        def called(*arrays: np.ndarray, **knobs: Any) -> Any:
            known = signature_of(function).knobs
            knobs = {name: knob for name, knob in knobs.items() if name in known or name not in ("chunk", "causal")}
            return function(*map(jnp.asarray, arrays), **jax.tree.map(as_array, knobs))

        return called

    return named


def as_array(knob: Any) -> Any:
    return jnp.asarray(knob) if isinstance(knob, np.ndarray) else knob


def state_of(name: str) -> Callable[..., Any]:
    entry = catalogue.in_slot("mixer")[name]
    run = packaged("steps" if entry.chunks is None else "chunks")(name)
    return lambda *arrays, **knobs: run(*arrays, **knobs)[1]


def attended_by_package(query, key, value, mask, bias):
    arrays = map(jnp.asarray, (query, key, value))
    added = bind(lambda query_positions, key_positions, *, table: table, table=lead(jnp.asarray(bias), "TS"))
    return attend(*arrays, mask=jnp.asarray(mask), biases=(added,))


IMPLEMENTATIONS = {
    "package": Implementation(
        mixer=packaged("function"),
        weights=packaged("weights"),
        final_state=state_of,
        attend=attended_by_package,
    ),
    "oracle": Implementation(
        mixer=lambda name: getattr(oracles, f"mixer_{name}"),
        weights=lambda name: getattr(oracles, f"mixer_{name}_weights"),
        final_state=lambda name: getattr(oracles, f"mixer_{name}_state"),
        attend=attended,
    ),
}
compared: set[str] = set()


@pytest.fixture(params=IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS.keys())
def ours(request):
    with jax.enable_x64(True):
        yield request.param


def every(file: str) -> pytest.MarkDecorator:
    """Parametrises a test over the cases of a file."""
    compared.add(file)
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases_of(file, "output")])


def arguments(case: Case) -> dict[str, np.ndarray]:
    """The arrays that the mixer takes beside query, key and value, or beside the inputs."""
    other = FOUND | {"versions", "mixer", "knobs", "inputs", "query", "key", "value"}
    return {name: array for name, array in case.arrays.items() if name not in other}


def by_head(function: Callable[..., Any], case: Case, *operands: str, **knobs: Any) -> list[np.ndarray]:
    """What a function of one head makes of every head."""
    given = arguments(case)
    shared = {name: given[name] for name in WHOLE & set(given)} | knobs

    def of(head):
        own = {name: array[head] for name, array in given.items() if name not in WHOLE}
        return np.asarray(function(*(case[name][:, head] for name in operands), **own, **shared))

    return [of(head) for head in range(case["value"].shape[1])]


def assert_same(got: Any, wanted: np.ndarray, tolerance: float = 1e-9) -> None:
    assert_allclose(got, wanted, rtol=0, atol=tolerance, equal_nan=False)


def assert_heads_agree(ours: Implementation, case: Case, tolerance: float = 1e-9) -> None:
    """Output, and the final state and the weights where the fixture has them."""
    name, knobs = str(case["mixer"]), case.knobs
    output = by_head(ours.mixer(name), case, "query", "key", "value", **knobs)
    assert_same(np.stack(output, axis=1), case["output"], tolerance)
    if "weights" in case.arrays:
        weights = by_head(ours.weights(name), case, "query", "key", **knobs)
        assert_same(np.stack(weights), case["weights"], tolerance)
    if "final_state" in case.arrays:
        knobs.pop("chunk")
        state = by_head(ours.final_state(name), case, "query", "key", "value", **knobs)
        assert_same(np.stack(state), case["final_state"], tolerance)


def assert_sequences_agree(ours: Implementation, case: Case) -> None:
    """Output, and the final state where the fixture has it; the two parts of an LSTM's state go together."""
    name, given = str(case["mixer"]), arguments(case) | case.knobs
    wanted = [case[each] for each in ("final_state", "final_hidden", "final_cell") if each in case.arrays]
    if "initial_hidden" in given:
        given["initial_state"] = given.pop("initial_hidden"), given.pop("initial_cell")
    assert_same(ours.mixer(name)(case["inputs"], **given), case["output"])
    if wanted:
        state = ours.final_state(name)(case["inputs"], **given)
        for part, other in zip(state if len(wanted) > 1 else [state], wanted, strict=True):
            assert_same(part, other)


def test_every_file_is_compared():
    assert compared == {path.stem for path in FOLDER.glob("mixers_*.npz")}


# Kernels.


@every("mixers_aft")
def test_attention_free_transformers_are_those_of_aft_pytorch(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_hf_rwkv")
def test_causal_aft_with_a_falling_bias_is_version_4_of_rwkv(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_performer")
def test_positive_features_are_those_of_performer_pytorch(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_fast_transformers")
def test_kernels_are_those_of_fast_transformers(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_taylor_series")
def test_taylor_is_that_of_taylor_series_linear_attention(case, ours):
    assert_heads_agree(ours, case)


# Low rank, landmarks, clusters.


@every("mixers_linformer")
def test_linformer_is_that_of_linformer(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_hf_nystromformer")
def test_landmarks_are_those_of_nystromformer(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_nystrom_attention")
def test_landmarks_are_those_of_nystrom_attention(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_isab")
def test_luna_is_induced_set_attention_on_averages_of_keys_and_values(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_torch_latent")
def test_the_latent_bottleneck_is_two_attentions_of_torch(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_sklearn")
def test_clusters_are_those_of_scikit_learn(case, ours):
    assert_heads_agree(ours, case)


# Hashing, and sparse patterns.


@every("mixers_reformer")
def test_hashing_is_that_of_reformer_pytorch(case, ours):
    """It adds 1e-9 to the number of rounds that find a key before it takes the logarithm."""
    assert_heads_agree(ours, case, tolerance=1e-8)


@every("mixers_hf_longformer")
def test_windows_and_global_tokens_are_those_of_longformer(case, ours):
    positions = np.arange(len(case["query"]))
    mask = oracles.mask_longformer(positions, positions, dilation=1, **case.knobs)
    output = by_head(ours.attend, case, "query", "key", "value", mask=mask, bias=np.zeros(mask.shape))
    assert_same(np.stack(output, axis=1), case["output"])


def bigbird_counts(blocks: int, size: int, drawn: np.ndarray) -> np.ndarray:
    """How often a query meets a key: in its window or the global blocks, which are the first and the last, and again
    in each random block.
    """
    positions = np.arange(blocks * size)
    near = oracles.mask_block_local(positions, positions, block=size, left=1, right=1)
    first = oracles.mask_global_tokens(positions, positions, count=size)
    counts = (near | first | first[::-1, ::-1]).astype(int)
    for row, columns in enumerate(drawn, start=1):
        for column in columns:
            counts[row * size : (row + 1) * size, column * size : (column + 1) * size] += 1
    return counts


@every("mixers_hf_bigbird")
def test_blocks_are_those_of_bigbird(case, ours):
    """In evaluation all random blocks are block 0, and a key that is met n times weighs n times as much."""
    size = case.knobs["block"]
    blocks, drawn = len(case["query"]) // size, case["random_blocks"]
    for head in range(len(drawn)):
        counts = bigbird_counts(blocks, size, drawn[head])
        assert (counts.max() == 1) == (case.name == "training")
        operands = (case[name][:, head] for name in ("query", "key", "value"))
        output = ours.attend(*operands, counts > 0, np.log(np.maximum(counts, 1)))
        assert_same(output, case["output"][:, head])


# Recurrences.


@every("mixers_fla")
def test_recurrences_are_those_of_flash_linear_attention(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_hf_gated_delta")
def test_the_gated_delta_rule_is_that_of_qwen3_next(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_hf_mamba2")
def test_the_scan_is_that_of_mamba_2(case, ours):
    assert_heads_agree(ours, case)


@every("mixers_hf_minimax")
def test_retention_is_lightning_attention_in_minimax(case, ours):
    assert_heads_agree(ours, case)


# Whole sequences.


@every("mixers_torch")
def test_recurrent_cells_and_convolutions_are_those_of_torch(case, ours):
    assert_sequences_agree(ours, case)


@every("mixers_hf_fnet")
def test_fourier_is_that_of_fnet(case, ours):
    assert_sequences_agree(ours, case)


@every("mixers_mlp_mixer")
def test_mixing_tokens_is_that_of_mlp_mixer_pytorch(case, ours):
    assert_sequences_agree(ours, case)


@every("mixers_s5")
def test_diagonal_state_spaces_are_those_of_s5(case, ours):
    assert_sequences_agree(ours, case)


@every("mixers_lru")
def test_the_linear_recurrent_unit_is_that_of_lru_pytorch(case, ours):
    assert_sequences_agree(ours, case)


@every("mixers_stripedhyena")
def test_the_long_convolution_is_that_of_stripedhyena(case, ours):
    assert_heads_agree(ours, case)
