"""The package against the committed outputs of other implementations; `fixtures/README.md` says how these differ.

A case that joins a file is compared by itself; one that names a function which is not known here fails.
"""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

import selfattn_jax as sa
from selfattn_jax.functional.bind import call
from tests.exam.sitting import quick_jit

FOLDER = Path(__file__).parent / "fixtures"

ROTARY = {
    "default": sa.encode.rope,
    "gptj": sa.encode.rope,
    "rope": sa.encode.rope,
    "linear": sa.encode.rope_linear,
    "ntk": sa.encode.rope_ntk,
    "dynamic": sa.encode.rope_dynamic_ntk,
    "yarn": sa.encode.rope_yarn,
    "llama3": sa.encode.rope_llama3,
    "xpos": sa.encode.xpos,
}


# Reading.


class Case(NamedTuple):
    """The arrays of one case by name, with those that its file gives to all cases."""

    name: str
    arrays: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    @property
    def knobs(self) -> dict[str, Any]:
        return json.loads(str(self["knobs"]))


@functools.cache
def read(file: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{file}.npz") as arrays:
        return dict(arrays)


def cases_of(file: str, having: str) -> list[Case]:
    """The cases of a file that have an array of a name."""
    arrays = read(file)
    shared = {name: array for name, array in arrays.items() if "/" not in name}
    own: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        case, slash, rest = name.partition("/")
        if slash:
            own.setdefault(case, {})[rest] = array
    return [Case(name, {**shared, **arrays}) for name, arrays in own.items() if having in arrays]


compared: set[str] = set()


def every(*files: str, having: str) -> pytest.MarkDecorator:
    """Parametrises a test over the cases of some files that have an array of a name."""
    compared.update(files)
    named = [(file, case) for file in files for case in cases_of(file, having)]
    return pytest.mark.parametrize("case", [pytest.param(case, id=f"{file}-{case.name}") for file, case in named])


class Precision(NamedTuple):
    """A dtype, and how far apart two results in it may be."""

    dtype: Any
    tolerance: float

    def cast(self, case: Case, *names: str) -> list[np.ndarray]:
        return [case[name].astype(self.dtype) for name in names]

    def assert_agree(self, got: Any, wanted: np.ndarray) -> None:
        assert got.dtype == self.dtype
        assert_allclose(got, wanted, rtol=0, atol=self.tolerance, equal_nan=False)


@pytest.fixture(params=[Precision(np.float64, 1e-10), Precision(np.float32, 2e-5)], ids=["float64", "float32"])
def precision(request):
    with jax.enable_x64(request.param.dtype == np.float64):
        yield request.param


@quick_jit
def looked(query, key, value, **settings):
    return sa.inspect(query, key, value, want=("scores", "weights"), **settings)


@quick_jit
def scored(score, query, key, *positions):
    """The scores of every head, each with its own row of the knobs."""
    return jax.vmap(lambda score, query, key: score(query, key, *positions), in_axes=(0, 1, 1))(score, query, key)


def test_every_file_is_compared():
    """`test_fixtures_mixers.py` compares those of mixers."""
    assert compared == {path.stem for path in FOLDER.glob("*.npz") if not path.stem.startswith("mixers_")}


# Whole attentions.


@quick_jit
def attended(query, key, value, cotangent, mask):
    output, pull = jax.vjp(lambda *arrays: sa.attention(*arrays, mask=mask), query, key, value)
    return output, *pull(cotangent)


@every("torch_sdpa", having="output")
def test_attention_and_its_gradients_are_those_of_torch(case, precision):
    mask = sa.masks.causal if "causal" in case.name else case["mask"] if "masked" in case.name else None
    got = attended(*precision.cast(case, "query", "key", "value", "cotangent"), mask)
    wanted = ("output", "query_gradient", "key_gradient", "value_gradient")
    for array, name in zip(got, wanted, strict=True):
        precision.assert_agree(array, case[name])
        if "masked" in case.name and name in ("output", "query_gradient"):
            assert (np.asarray(array)[~case["mask"].any(axis=1)] == 0).all()


@every("x_transformers_attend", having="weights")
def test_variants_of_attention_are_those_of_x_transformers(case, precision):
    """The mix before the softmax is added to the scores there; the weights are those before the mix after it."""
    arrays = precision.cast(case, "query", "key", "value")
    if case.name == "talking":
        before, after = precision.cast(case, "before_weight", "after_weight")
        settings = {"before": np.eye(len(before), dtype=precision.dtype) + before, "mask": sa.masks.causal}
        seen = talked(*arrays, **settings)
        output = talked(*arrays, **settings, after=after).output
    else:
        pieces = {
            "distance": lambda: {"score": sa.bind(sa.scores.squared_distance)},
            "top_k": lambda: {"normalizer": sa.bind(sa.normalizers.top_k, count=int(case["count"]))},
        }
        seen = looked(*arrays, **pieces[case.name]())
        output = seen.output
    precision.assert_agree(seen.scores, case["scores"])
    precision.assert_agree(seen.weights, case["weights"])
    precision.assert_agree(output, case["output"])


@quick_jit
def talked(query, key, value, **settings):
    return sa.talking_attention(query, key, value, want=("scores", "weights"), **settings)


@every("x_transformers_cope", having="cope_bias")
def test_cope_is_that_of_x_transformers(case, precision):
    query, key, value, table = precision.cast(case, "query", "key", "value", "table")
    seen = looked(query, key, value, mask=sa.masks.causal, rowwise=(sa.bind(sa.rowwise.cope, embedding=table),))
    precision.assert_agree(np.tril(seen.scores - scored(sa.bind(sa.scores.scaled_dot), query, key)), case["cope_bias"])
    precision.assert_agree(seen.weights, case["weights"])
    precision.assert_agree(seen.output, case["output"])


@every("hf_diffllama", having="difference")
def test_differential_heads_are_those_of_layer_1_of_diffllama(case, precision):
    """Layers count from 0 there and from 1 here."""
    vectors = np.stack(precision.cast(case, "lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"))
    heads = sa.heads.differential(16, count=2, groups=case["value"].shape[1])
    layer = nnx.eval_shape(lambda: sa.modules.heads.Differential(16, heads, depth=2, rngs=nnx.Rngs(0)))
    layer.first, layer.second = nnx.Param(jnp.asarray(vectors[:2])), nnx.Param(jnp.asarray(vectors[2:]))
    layer.norm.scale = nnx.Param(jnp.ones(heads.value_width, precision.dtype))

    @quick_jit
    def passed(query, key, value):
        scale = layer.scale()
        difference = sa.differential_attention(query, key, value, scale=scale, mask=sa.masks.causal).output
        return scale, difference, layer.finish(difference, difference)

    scale, difference, output = passed(*precision.cast(case, "query", "key", "value"))
    precision.assert_agree(scale, np.broadcast_to(case["lambda"], 2))
    precision.assert_agree(difference, case["difference"])
    precision.assert_agree(output, case["output"])


@every("hf_mla", having="weights")
def test_attention_on_the_operands_of_deepseek_is_that_of_deepseek(case, precision):
    seen = looked(*precision.cast(case, "query", "key", "value"), mask=sa.masks.causal)
    output = np.asarray(seen.output).reshape(len(seen.output), -1) @ parameter("o_proj", precision).T
    precision.assert_agree(seen.weights, case["weights"])
    precision.assert_agree(output, case["output"])


@every("hf_mla", having="weights")
def test_latent_heads_with_the_parameters_of_deepseek_attend_like_deepseek(case, precision):
    """The part for rope comes first here and last there. Its query has a latent vector too, so it is made here."""
    (hidden,) = precision.cast(case, "hidden")
    latent = hidden @ parameter("q_a_proj", precision).T
    latent /= np.sqrt(np.mean(latent**2, axis=-1, keepdims=True) + case["norm_epsilon"].astype(precision.dtype))
    latent *= parameter("q_a_layernorm", precision)[None]
    query = (latent @ parameter("q_b_proj", precision).T).reshape(len(hidden), 2, 8)
    query = np.concatenate([query[..., 4:], query[..., :4]], axis=-1)
    layer, rope = latent_layer(precision), sa.bind(sa.encode.rope, rotated=4, layout=case.name)

    @quick_jit
    def passed(hidden, query):
        _, key, value = layer.project(hidden, hidden)
        seen = sa.inspect(query, key, value, mask=sa.masks.causal, encode=(rope,))
        return value, seen.weights, layer.output(seen.output.reshape(len(hidden), -1))

    for array, name in zip(passed(hidden, query), ("value", "weights", "output"), strict=True):
        precision.assert_agree(array, case[name])


def latent_layer(precision):
    """`Latent` with DeepSeek's parameters, which it keeps in one matrix where here are two."""
    heads = sa.heads.latent(8, count=2, latent_width=6, rope_width=4, key_width=4, value_width=3)
    layer = nnx.eval_shape(lambda: sa.modules.heads.Latent(8, heads, rngs=nnx.Rngs(0)))
    down, shared_key = np.split(parameter("kv_a_proj_with_mqa", precision), [6])
    key, value = np.split(parameter("kv_b_proj", precision).reshape(2, 7, 6), [4], axis=1)
    kernels = {"down": down, "shared_key": shared_key, "key": key.reshape(8, 6), "value": value.reshape(6, 6)}
    kernels["query"] = np.zeros((16, 8), precision.dtype)  # not used
    for name, kernel in {**kernels, "output": parameter("o_proj", precision)}.items():
        getattr(layer, name).kernel = nnx.Param(jnp.asarray(kernel.T))
    layer.norm.scale = nnx.Param(jnp.asarray(parameter("kv_a_layernorm", precision)))
    return layer


def parameter(name, precision):
    return read("hf_mla")[f"parameters/{name}.weight"].astype(precision.dtype)


# Normalisers.


@quick_jit
def normalised_by_row(normalizer, scores, cotangent):
    """Weights, and the gradients of Σ cotangent ⊙ weights by the normaliser's knobs and by the scores, row by row."""

    def row(scores, cotangent):
        def weights(normalizer, scores):
            return normalizer(scores[None], jnp.ones((1, scores.shape[0]), bool))[0]

        found, pull = jax.vjp(weights, normalizer, scores)
        return found, *pull(cotangent)

    return jax.vmap(row)(scores, cotangent)


@every("entmax", having="weights")
def test_sparse_normalisers_and_their_gradients_are_those_of_entmax(case, precision):
    name, _, alpha = case.name.partition("_")
    knobs = {"alpha": np.asarray(float(alpha), precision.dtype)} if name == "bisect" else {}
    normalizer = sa.bind(getattr(sa.normalizers, "entmax" if name == "bisect" else name), **knobs)
    weights, by_knobs, by_scores = normalised_by_row(normalizer, *precision.cast(case, "scores", "cotangent"))
    precision.assert_agree(weights, case["weights"])
    precision.assert_agree(by_scores, case["scores_gradient"])
    if knobs:
        precision.assert_agree(by_knobs.knobs["alpha"], case["alpha_gradient"])


# Positions.


@quick_jit
def rotated(encode, query, key, positions):
    places = {"query_positions": positions, "key_positions": positions, "length": positions.max() + 1}
    return call(encode, "encode", query=query, key=key, **places)


@every("hf_rotary", "x_transformers_rotary", having="rotated_query")
def test_rotary_positions_are_those_of_hugging_face_and_x_transformers(case, precision):
    encode = sa.bind(ROTARY[case.name.partition("_")[0]], **case.knobs)
    query, key = (array[:, 0] for array in precision.cast(case, "query", "key"))
    got = rotated(encode, query, key, case["positions"])
    for array, name in zip(got, ("rotated_query", "rotated_key"), strict=True):
        precision.assert_agree(array, case[name][:, 0])


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@every("hf_t5", having="buckets")
def test_buckets_are_those_of_t5(case, direction):
    sizes = int(case["buckets"]), direction == "bidirectional", int(case["maximum_distance"])
    assert_array_equal(sa.biases.t5_buckets(case["relative_positions"], *sizes), case[direction])


@every("hf_t5", having="bias")
def test_the_bias_is_that_of_t5(case, precision):
    positions = np.arange(case["bias"].shape[1], dtype=np.int32)
    knobs = {"bidirectional": "bidirectional" in case.name, "maximum_distance": int(case["maximum_distance"])}
    (table,) = precision.cast(case, "table")

    @quick_jit
    @jax.vmap
    def biased(table):
        return sa.biases.t5(positions, positions, table=table, **knobs)

    precision.assert_agree(biased(table), case["bias"])


@quick_jit
def sloped(query_positions, key_positions, slopes):
    return jax.vmap(lambda slope: sa.biases.alibi(query_positions, key_positions, slope=slope))(slopes)


def every_number_of_heads(file: str) -> pytest.MarkDecorator:
    compared.add(file)
    return pytest.mark.parametrize("heads", read(file)["heads"].tolist())


@every_number_of_heads("x_transformers_alibi")
def test_alibi_is_that_of_x_transformers(heads, precision):
    arrays, slopes = read("x_transformers_alibi"), sa.biases.alibi_slopes(heads)
    bias = sloped(arrays["query_positions"], arrays["key_positions"], slopes)
    precision.assert_agree(slopes, arrays[f"slopes_{heads}"])
    precision.assert_agree(bias, arrays[f"bias_{heads}"])


@every_number_of_heads("hf_alibi")
def test_alibi_is_that_of_bloom_up_to_a_number_a_row(heads, precision):
    """BLOOM adds slope · j: over the keys up to i, the same as −slope · (i − j) but for slope · i."""
    arrays, slopes = read("hf_alibi"), sa.biases.alibi_slopes(heads)
    wanted = arrays[f"key_bias_{heads}"]
    positions = np.arange(wanted.shape[1], dtype=np.int32)
    bias = np.asarray(sloped(positions, positions, slopes))
    precision.assert_agree(slopes, arrays[f"slopes_{heads}"])
    precision.assert_agree(np.tril(bias - bias[:, :, :1]), np.tril(np.broadcast_to(wanted[:, None], bias.shape)))


@every("hf_deberta", having="scores")
def test_scores_are_those_of_deberta(case, precision):
    """The query table is turned over, row r from row (2m − r) mod 2m: Hugging Face indexes it by i − j where the paper
    has δ(j, i). The two clip distances at other ends, so with that table they are compared where neither clips.
    """
    query, key = precision.cast(case, "query", "key")
    tables = {name: array for name, array in case.arrays.items() if name.endswith("_table")}
    half = next(iter(tables.values())).shape[1] // 2
    position = np.arange(len(query), dtype=np.int32)
    compared_pairs = np.ones((len(query), len(key)), bool)
    if "query_table" in tables:
        tables["query_table"] = tables["query_table"][:, -np.arange(2 * half)]
        compared_pairs = np.abs(position[:, None] - position[None, :]) < half
    knobs = {name: array.astype(precision.dtype) for name, array in tables.items()}
    scores = scored(sa.bind(sa.relative.deberta, **knobs), query, key, position, position)
    precision.assert_agree(np.asarray(scores)[:, compared_pairs], case["scores"][:, compared_pairs])


@every("hf_xlnet", having="scores")
def test_scores_are_those_of_xlnet(case, precision):
    names = ("content_bias", "position_bias", "weight")
    knobs = dict(zip(names, precision.cast(case, *names), strict=True))
    query, key = precision.cast(case, "query", "key")
    positions = case["query_positions"], case["key_positions"]
    scores = scored(sa.bind(sa.relative.transformer_xl, **knobs), query, key, *positions)
    precision.assert_agree(scores, case["scores"])
