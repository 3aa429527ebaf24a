"""The oracles of the recurrences and of the sequence mixers, against numbers that can be worked by hand."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import oracles

LENGTH, WIDTH, VALUES = 6, 3, 2
LN2 = math.log(2)
HEADS = "retention simple_gated gated_linear delta gated_delta ssd rwkv".split()
STATEFUL = "lru s4d gru lstm".split()
PER_POSITION = {
    "simple_gated": ("log_decay",),
    "gated_linear": ("log_decay",),
    "delta": ("write",),
    "gated_delta": ("log_decay", "write"),
    "ssd": ("step",),
    "rwkv": ("log_decay",),
}


def mixer(name):
    return getattr(oracles, f"mixer_{name}")


def head_case(name):
    """Query, key, value and knobs of a recurrence, all random."""
    rng = np.random.default_rng(HEADS.index(name))
    knobs = {
        "retention": lambda: {"log_decay": -0.3},
        "simple_gated": lambda: {"log_decay": -rng.uniform(size=LENGTH)},
        "gated_linear": lambda: {"log_decay": -rng.uniform(size=(LENGTH, WIDTH))},
        "delta": lambda: {"write": rng.uniform(0, 2, size=LENGTH)},
        "gated_delta": lambda: {"log_decay": -rng.uniform(size=LENGTH), "write": rng.uniform(0, 2, size=LENGTH)},
        "ssd": lambda: {"step": rng.uniform(0.1, 1, size=LENGTH), "rate": 0.7, "skip": 1.5},
        "rwkv": lambda: {"log_decay": -rng.uniform(size=(LENGTH, WIDTH)), "bonus": rng.normal(size=WIDTH)},
    }[name]()
    return [rng.normal(size=(LENGTH, width)) for width in (WIDTH, WIDTH, VALUES)], knobs


def cut(name, knobs, part):
    """The knobs with those of every position cut to the positions of `part`."""
    return {knob: value[part] if knob in PER_POSITION.get(name, ()) else value for knob, value in knobs.items()}


def sequence_case(name, length=LENGTH, width=WIDTH, states=4):
    """Inputs and knobs of a sequence mixer with a state, all random."""
    rng = np.random.default_rng(STATEFUL.index(name))
    shapes = {
        "lru": {
            "nu": (states,),
            "theta": (states,),
            **dict.fromkeys(("input_real", "input_imag"), (width, states)),
            **dict.fromkeys(("output_real", "output_imag"), (states, width)),
            "skip": (width,),
        },
        "s4d": {
            "log_step": (width,),
            **dict.fromkeys(("log_decay", "frequency", "output_real", "output_imag"), (width, states)),
            "skip": (width,),
        },
        "gru": {
            **dict.fromkeys(("input_weight", "hidden_weight"), (width, 3 * width)),
            **dict.fromkeys(("input_bias", "hidden_bias"), (3 * width,)),
        },
        "lstm": {
            **dict.fromkeys(("input_weight", "hidden_weight"), (width, 4 * width)),
            **dict.fromkeys(("input_bias", "hidden_bias"), (4 * width,)),
        },
    }[name]
    return rng.normal(size=(length, width)), {knob: rng.normal(size=shape) for knob, shape in shapes.items()}


# Recurrences on heads: K = 4 and q = (1, 1, 1, 1), so that y = the sum of S over its rows, halved.
ONES = np.ones((3, 4))
KEY = np.array([[2.0, 0, 0, 0], [0, 2, 0, 0], [2, 2, 0, 0]])
VALUE = np.array([[1.0], [10.0], [100.0]])


def test_retention_by_hand():
    """S = (2, 0), (1, 20), (1/2 + 200, 10 + 200)."""
    output = oracles.mixer_retention(ONES, KEY, VALUE, log_decay=-LN2)
    assert_allclose(output, [[1], [10.5], [205.25]])
    assert_allclose(oracles.mixer_retention_state(ONES, KEY, VALUE, log_decay=-LN2), [[200.5], [210], [0], [0]])
    weights = oracles.mixer_retention_weights(ONES, KEY, log_decay=-LN2)
    assert_allclose(weights, [[1, 0, 0], [0.5, 1, 0], [0.25, 0.5, 2]])


def test_simple_gated_by_hand():
    """The decays are 1/7 (of nothing), 1/2 and 1/4: S = (2, 0), (1, 20), (1/4 + 200, 5 + 200)."""
    knobs = {"log_decay": -np.log([7, 2, 4])}
    assert_allclose(oracles.mixer_simple_gated(ONES, KEY, VALUE, **knobs), [[1], [10.5], [202.625]])
    weights = oracles.mixer_simple_gated_weights(ONES, KEY, **knobs)
    assert_allclose(weights, [[1, 0, 0], [0.5, 1, 0], [0.125, 0.25, 2]])


def test_gated_linear_by_hand():
    """The rows of S decay by themselves: (2, 0), then (2/2, 20), then (1/4 + 200, 20/10 + 200)."""
    knobs = {"log_decay": -np.log([[9.0, 9, 9, 9], [2, 5, 1, 1], [4, 10, 1, 1]])}
    assert_allclose(oracles.mixer_gated_linear(ONES, KEY, VALUE, **knobs), [[1], [10.5], [201.125]])
    assert_allclose(oracles.mixer_gated_linear_state(ONES, KEY, VALUE, **knobs)[:, 0], [200.25, 202, 0, 0])
    weights = oracles.mixer_gated_linear_weights(ONES, KEY, **knobs)
    assert_allclose(weights, [[1, 0, 0], [0.5, 1, 0], [0.125, 0.1, 2]])


def test_delta_by_hand():
    """k̂ = (1, 0), (1, 0), (0.6, 0.8): S = (5, 0), then 5 + ½(15 − 5) = 10, then 6 is found where 16 is wanted."""
    query, key, value = np.ones((3, 2)), [[2.0, 0], [7, 0], [3, 4]], [[10.0], [15], [16]]
    knobs = {"write": [0.5, 0.5, 1.0]}
    state = np.array([[10 + 6], [8]])
    assert_allclose(oracles.mixer_delta(query, key, value, **knobs), np.array([[5], [10], [24]]) / math.sqrt(2))
    assert_allclose(oracles.mixer_delta_state(query, key, value, **knobs), state)
    weights = np.array([[0.5, 0, 0], [0.25, 0.5, 0], [0.04, 0.08, 1.4]])  # (1, 1) − 1.4 k̂ = (0.16, −0.12)
    assert_allclose(oracles.mixer_delta_weights(query, key, **knobs), weights / math.sqrt(2))


def test_gated_delta_by_hand():
    """S = 10, halved to 5 before 15 is wanted of it with half the force."""
    query, key, value = [[1.0], [2.0]], [[3.0], [-4.0]], [[10.0], [-15.0]]
    knobs = {"log_decay": [-9.0, -LN2], "write": [1.0, 0.5]}
    assert_allclose(oracles.mixer_gated_delta(query, key, value, **knobs), [[10], [20]])
    assert_allclose(oracles.mixer_gated_delta_state(query, key, value, **knobs), [[10]])
    assert_allclose(oracles.mixer_gated_delta_weights(query, key, **knobs), [[1, 0], [0.5, -1]])


def test_ssd_by_hand():
    """The steps 1 and 2 decay by 1/2 and 1/4: S = 3, then 3/4 + 2·5·10; the skip adds 100 v."""
    query, key, value = [[1.0], [2.0]], [[3.0], [5.0]], [[1.0], [10.0]]
    knobs = {"step": [1.0, 2.0], "rate": LN2, "skip": 100.0}
    assert_allclose(oracles.mixer_ssd(query, key, value, **knobs), [[103], [1201.5]])
    assert_allclose(oracles.mixer_ssd_state(query, key, value, **knobs), [[100.75]])
    assert_allclose(oracles.mixer_ssd_weights(query, key, **knobs), [[103, 0], [1.5, 120]])


def test_rwkv_by_hand():
    """S before the positions: 0, 3 (not decayed), 3/2 + 50 (decayed by the second); the bonus is 7."""
    query, key, value = [[1.0], [2.0], [1.0]], [[3.0], [5.0], [1.0]], [[1.0], [10.0], [100.0]]
    knobs = {"log_decay": [[-9.0], [-LN2], [-2 * LN2]], "bonus": [7.0]}
    assert_allclose(oracles.mixer_rwkv(query, key, value, **knobs), [[21], [2 * (3 + 350)], [51.5 + 700]])
    assert_allclose(oracles.mixer_rwkv_state(query, key, value, **knobs), [[51.5 / 4 + 100]])
    assert_allclose(oracles.mixer_rwkv_weights(query, key, **knobs), [[21, 0, 0], [6, 70, 0], [1.5, 5, 7]])


def test_retention_without_decay_is_the_causal_sum():
    (query, key, value), _ = head_case("retention")
    expected = np.tril(query @ key.T) @ value / math.sqrt(WIDTH)
    assert_allclose(oracles.mixer_retention(query, key, value, log_decay=0.0), expected, rtol=1e-12)


def test_the_gates_of_every_recurrence_can_be_those_of_retention():
    (query, key, value), _ = head_case("retention")
    expected = oracles.mixer_retention(query, key, value, log_decay=-0.2)
    simple = oracles.mixer_simple_gated(query, key, value, log_decay=[-0.2] * LENGTH)
    linear = oracles.mixer_gated_linear(query, key, value, log_decay=np.full((LENGTH, WIDTH), -0.2))
    ssd = oracles.mixer_ssd(query, key, value, step=[1.0] * LENGTH, rate=0.2, skip=0.0)
    assert_allclose(simple, expected, rtol=1e-12)
    assert_allclose(linear, expected, rtol=1e-12)
    assert_allclose(ssd / math.sqrt(WIDTH), expected, rtol=1e-12)


def test_delta_recalls_the_values_of_orthonormal_keys():
    key = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    value = np.random.default_rng(1).normal(size=(4, 2))
    assert_allclose(oracles.mixer_delta(key, key, value, write=np.ones(4)), value / 2, rtol=1e-12)
    state = oracles.mixer_delta_state(key, key, value, write=np.ones(4))
    assert_allclose(key @ state, value, rtol=1e-12)


def test_delta_replaces_what_a_key_held():
    state = oracles.mixer_delta_state(np.ones((2, 1)), [[2.0], [5.0]], [[3.0], [4.0]], write=[1.0, 1.0])
    assert_array_equal(state, [[4]])


def test_delta_writes_nothing_with_a_zero_key():
    state = oracles.mixer_delta_state(np.ones((2, 2)), [[0.0, 3.0], [0, 0]], [[3.0], [4.0]], write=[1.0, 1.0])
    assert_array_equal(state, [[0], [3]])


def test_gated_delta_without_decay_is_delta():
    (query, key, value), knobs = head_case("delta")
    gated = oracles.mixer_gated_delta(query, key, value, log_decay=np.zeros(LENGTH), **knobs)
    assert_allclose(gated, oracles.mixer_delta(query, key, value, **knobs), rtol=1e-12)


def test_a_decay_to_nothing_forgets_the_past():
    (query, key, value), _ = head_case("simple_gated")
    output = oracles.mixer_simple_gated(query, key, value, log_decay=[-math.inf] * LENGTH)
    own = np.sum(query * key, axis=1, keepdims=True) * value / math.sqrt(WIDTH)
    assert_allclose(output, own, rtol=1e-12)
    weights = oracles.mixer_retention_weights(query, key, log_decay=-math.inf)
    assert_allclose(weights @ value, own, rtol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_weights_times_value_is_the_output(name, masked):
    (query, key, value), knobs = head_case(name)
    key_mask = [False, True, True, False, False, True] if masked else None
    output = mixer(name)(query, key, value, key_mask=key_mask, chunk=4, **knobs)
    weights = mixer(f"{name}_weights")(query, key, key_mask=key_mask, chunk=4, **knobs)
    assert_allclose(weights @ value, output, rtol=1e-12, atol=1e-14)
    assert_array_equal(np.triu(weights, 1), 0)


@pytest.mark.parametrize("name", HEADS)
def test_the_parts_of_a_sequence_with_the_state_carried_are_the_whole(name):
    arrays, knobs = head_case(name)
    state, outputs = None, []
    for part in (slice(0, 2), slice(2, 5), slice(5, None)):
        cut_arrays, cut_knobs = [array[part] for array in arrays], cut(name, knobs, part)
        outputs.append(mixer(name)(*cut_arrays, initial_state=state, **cut_knobs))
        state = mixer(f"{name}_state")(*cut_arrays, initial_state=state, **cut_knobs)
    assert_allclose(np.concatenate(outputs), mixer(name)(*arrays, **knobs), rtol=1e-12)
    assert_allclose(state, mixer(f"{name}_state")(*arrays, **knobs), rtol=1e-12)


@pytest.mark.parametrize("name", HEADS)
def test_a_hidden_position_is_skipped_whatever_it_holds(name):
    (query, key, value), knobs = head_case(name)
    kept, hidden = [1, 2, 5], [0, 3, 4]
    expected = mixer(name)(query[kept], key[kept], value[kept], **cut(name, knobs, kept))
    state = mixer(f"{name}_state")(query[kept], key[kept], value[kept], **cut(name, knobs, kept))
    weights = mixer(f"{name}_weights")(query[kept], key[kept], **cut(name, knobs, kept))
    for array in (key, value, *(knobs[knob] for knob in PER_POSITION.get(name, ()))):
        array[hidden] = np.nan
    knobs["key_mask"] = np.isin(np.arange(LENGTH), kept)
    output = mixer(name)(query, key, value, **knobs)
    all_weights = mixer(f"{name}_weights")(query, key, **knobs)
    assert_allclose(output[kept], expected, rtol=1e-12)
    assert_allclose(mixer(f"{name}_state")(query, key, value, **knobs), state, rtol=1e-12)
    assert_allclose(all_weights[np.ix_(kept, kept)], weights, rtol=1e-12)
    assert_array_equal(all_weights[:, hidden], 0)
    assert_array_equal(output[0], 0)
    assert np.isfinite(output).all()
    query[hidden] = np.nan
    assert_array_equal(mixer(name)(query, key, value, **knobs)[kept], output[kept])


@pytest.mark.parametrize("name", HEADS)
def test_a_hidden_query_reads_the_state_as_it_is(name):
    arrays, knobs = head_case(name)
    output = mixer(name)(*arrays, key_mask=[True] * (LENGTH - 1) + [False], **knobs)
    before = slice(0, LENGTH - 1)
    state = mixer(f"{name}_state")(*[array[before] for array in arrays], **cut(name, knobs, before))
    scale = 1 if name in ("ssd", "rwkv") else math.sqrt(WIDTH)
    assert_allclose(output[-1], arrays[0][-1] @ state / scale, rtol=1e-12)


@pytest.mark.parametrize("name", HEADS)
def test_with_everything_hidden_the_initial_state_stays(name):
    arrays, knobs = head_case(name)
    initial = np.arange(WIDTH * VALUES, dtype=np.float64).reshape(WIDTH, VALUES)
    hidden = {"key_mask": [False] * LENGTH, "initial_state": initial}
    assert_array_equal(mixer(f"{name}_state")(*arrays, **hidden, **knobs), initial)


# The sequence protocol.


def test_lru_by_hand():
    """λ = i/2, γ = √(3/4), B = (1, i): x = 2γ, then 2γ(i/2) + 4iγ = 5iγ."""
    knobs = {
        "nu": [math.log(LN2)],
        "theta": [math.log(math.pi / 2)],
        "input_real": [[1.0], [0.0]],
        "input_imag": [[0.0], [1.0]],
        "output_real": [[1.0, 0.0]],
        "output_imag": [[0.0, -1.0]],
        "skip": [0.0, 10.0],
    }
    inputs, gamma = [[2.0, 0.0], [0.0, 4.0]], math.sqrt(0.75)
    output = oracles.mixer_lru(inputs, **knobs)
    assert_allclose(output, [[2 * gamma, 0], [0, 5 * gamma + 40]], atol=1e-14)  # Re(−ix) is the imaginary part
    assert_allclose(oracles.mixer_lru_state(inputs, **knobs), [5j * gamma], atol=1e-14)


def test_s4d_by_hand():
    """A = −1 and Δ = ln 2, so Ā = 1/2 and B̄ = (1/2 − 1)/−1 = 1/2: x = 2, then 1 + 3; y = 2·10 x + u."""
    knobs = {
        "log_step": [math.log(LN2)],
        "log_decay": [[0.0]],
        "frequency": [[0.0]],
        "output_real": [[10.0]],
        "output_imag": [[5.0]],
        "skip": [1.0],
    }
    assert_allclose(oracles.mixer_s4d([[4.0], [6.0]], **knobs), [[44], [86]])
    assert_allclose(oracles.mixer_s4d_state([[4.0], [6.0]], **knobs), [[4]])


def test_s4d_turns_by_its_frequency():
    """A = −1 + iω with Δω = π/2: Ā = i e^{−Δ} = i/2, so that a pulse is −1/4 of its size two steps later."""
    frequency = math.pi / 2 / LN2
    knobs = {
        "log_step": [math.log(LN2)],
        "log_decay": [[0.0]],
        "frequency": [[frequency]],
        "output_real": [[1.0]],
        "output_imag": [[0.0]],
        "skip": [0.0],
    }
    output = oracles.mixer_s4d([[1.0], [0.0], [0.0]], **knobs)[:, 0]
    entering = (0.5j - 1) / complex(-1, frequency)
    assert_allclose(output, [2 * entering.real, -entering.imag, -entering.real / 2])


def test_gru_by_hand():
    """One channel, h = 0.5: r = σ(ln 3) = 3/4, z = σ(−ln 4) = 1/5, n = tanh(1 + 3/4·2)."""
    knobs = {
        "input_weight": [[LN2, 0.0, 1.0]],
        "hidden_weight": [[0.0, -2 * math.log(4), 2.0]],
        "input_bias": [math.log(1.5), 0.0, 0.0],
        "hidden_bias": [0.0, 0.0, 1.0],
        "initial_state": [0.5],
    }
    expected = 0.8 * math.tanh(2.5) + 0.2 * 0.5
    assert_allclose(oracles.mixer_gru([[1.0]], **knobs), [[expected]])
    assert_allclose(oracles.mixer_gru_state([[1.0]], **knobs), [expected])


def test_gru_without_weights_halves_its_state():
    knobs = {
        "input_weight": np.zeros((2, 6)),
        "hidden_weight": np.zeros((2, 6)),
        "input_bias": np.zeros(6),
        "hidden_bias": np.zeros(6),
    }
    output = oracles.mixer_gru(np.ones((3, 2)), initial_state=[8.0, -4.0], **knobs)
    assert_array_equal(output, [[4, -2], [2, -1], [1, -0.5]])


def test_lstm_by_hand():
    """One channel: i = 1/2, f = 3/4, g = tanh(2), o = 1/5; c = 3/4·4 + tanh(2)/2."""
    knobs = {
        "input_weight": [[0.0, math.log(3), 1.0, 0.0]],
        "hidden_weight": [[0.0, 0.0, 2.0, 0.0]],
        "input_bias": [0.0, 0.0, 0.0, -LN2],
        "hidden_bias": [0.0, 0.0, 0.0, -LN2],
        "initial_state": ([0.5], [4.0]),
    }
    cell = 3 + math.tanh(2) / 2
    assert_allclose(oracles.mixer_lstm([[1.0]], **knobs), [[math.tanh(cell) / 5]])
    hidden_state, cell_state = oracles.mixer_lstm_state([[1.0]], **knobs)
    assert_allclose([hidden_state, cell_state], [[math.tanh(cell) / 5], [cell]])


def test_lstm_without_weights_halves_its_cell():
    knobs = {
        "input_weight": np.zeros((1, 4)),
        "hidden_weight": np.zeros((1, 4)),
        "input_bias": np.zeros(4),
        "hidden_bias": np.zeros(4),
    }
    output = oracles.mixer_lstm(np.ones((2, 1)), initial_state=([3.0], [8.0]), **knobs)
    assert_allclose(output, [[math.tanh(4) / 2], [math.tanh(2) / 2]])


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_gates_of_two_channels_read_both_channels(name):
    """Against the same equations written with whole matrices."""
    inputs, knobs = sequence_case(name)
    hidden, cell = np.zeros(WIDTH), np.zeros(WIDTH)
    for t in range(LENGTH):
        left = np.split(inputs[t] @ knobs["input_weight"] + knobs["input_bias"], 3 if name == "gru" else 4)
        right = np.split(hidden @ knobs["hidden_weight"] + knobs["hidden_bias"], len(left))
        gates = [1 / (1 + np.exp(-a - b)) for a, b in zip(left, right, strict=True)]
        if name == "gru":
            hidden = (1 - gates[1]) * np.tanh(left[2] + gates[0] * right[2]) + gates[1] * hidden
        else:
            cell = gates[1] * cell + gates[0] * np.tanh(left[2] + right[2])
            hidden = gates[3] * np.tanh(cell)
    assert_allclose(mixer(name)(inputs, **knobs)[-1], hidden, rtol=1e-12)


def test_lru_is_the_convolution_with_powers_of_its_eigenvalues():
    inputs, knobs = sequence_case("lru")
    eigenvalues = np.exp(-np.exp(knobs["nu"]) + 1j * np.exp(knobs["theta"]))
    entering = np.sqrt(1 - np.abs(eigenvalues) ** 2) * (inputs @ (knobs["input_real"] + 1j * knobs["input_imag"]))
    last = sum(eigenvalues ** (LENGTH - 1 - s) * entering[s] for s in range(LENGTH))
    read = (last @ (knobs["output_real"] + 1j * knobs["output_imag"])).real + knobs["skip"] * inputs[-1]
    assert_allclose(oracles.mixer_lru(inputs, **knobs)[-1], read, rtol=1e-10)


@pytest.mark.parametrize("name", STATEFUL)
def test_the_parts_of_a_sequence_mixer_with_the_state_carried_are_the_whole(name):
    inputs, knobs = sequence_case(name)
    first = mixer(name)(inputs[:2], **knobs)
    state = mixer(f"{name}_state")(inputs[:2], **knobs)
    second = mixer(name)(inputs[2:], initial_state=state, **knobs)
    assert_allclose(np.concatenate([first, second]), mixer(name)(inputs, **knobs), rtol=1e-12)
    last = mixer(f"{name}_state")(inputs[2:], initial_state=state, **knobs)
    assert_allclose(last, mixer(f"{name}_state")(inputs, **knobs), rtol=1e-12)


@pytest.mark.parametrize("name", STATEFUL)
def test_a_hidden_position_of_a_sequence_mixer_is_skipped_and_gives_0(name):
    inputs, knobs = sequence_case(name)
    kept, hidden = [1, 2, 5], [0, 3, 4]
    inputs[hidden] = np.nan
    visible = np.isin(np.arange(LENGTH), kept)
    output = mixer(name)(inputs, key_mask=visible, **knobs)
    assert_array_equal(output[kept], mixer(name)(inputs[kept], **knobs))
    assert_array_equal(output[hidden], 0)
    state = mixer(f"{name}_state")(inputs, key_mask=visible, **knobs)
    assert_array_equal(state, mixer(f"{name}_state")(inputs[kept], **knobs))


@pytest.mark.parametrize("name", STATEFUL)
def test_a_given_initial_state_is_not_written_to(name):
    inputs, knobs = sequence_case(name)
    state = mixer(f"{name}_state")(inputs, **knobs)
    before = np.array(state)
    mixer(name)(inputs, initial_state=state, **knobs)
    assert_array_equal(state, before)


def test_convolution_by_hand():
    """The taps 100, 10, 1 of one channel, over 1, 2, 3, 4."""
    inputs, kernel = [[1.0], [2.0], [3.0], [4.0]], [[[100.0]], [[10.0]], [[1.0]]]
    centred = oracles.mixer_convolution(inputs, kernel=kernel)
    causal = oracles.mixer_convolution(inputs, kernel=kernel, causal=True)
    dilated = oracles.mixer_convolution(inputs, kernel=kernel, causal=True, dilation=2)
    wide = oracles.mixer_convolution(inputs, kernel=kernel, dilation=2)
    even = oracles.mixer_convolution(inputs, kernel=kernel[:2])
    assert_array_equal(centred[:, 0], [12, 123, 234, 340])
    assert_array_equal(causal[:, 0], [1, 12, 123, 234])
    assert_array_equal(dilated[:, 0], [1, 2, 13, 24])
    assert_array_equal(wide[:, 0], [13, 24, 130, 240])
    assert_array_equal(even[:, 0], [120, 230, 340, 400])


def test_convolution_mixes_channels_and_leaves_out_what_is_hidden():
    inputs, kernel = [[1.0, 2.0], [math.nan, math.nan], [3.0, 4.0]], np.array([[[1.0, 10.0], [100.0, 1000.0]]] * 3)
    output = oracles.mixer_convolution(inputs, kernel=kernel, causal=True, key_mask=[True, False, True])
    assert_array_equal(output, [[201, 2010], [0, 0], [604, 6040]])


def test_bag_by_hand():
    inputs = [[1.0, 10.0], [math.nan, math.inf], [3.0, 40.0]]
    visible = [True, False, True]
    assert_array_equal(oracles.mixer_bag(inputs, key_mask=visible), [[2, 25], [0, 0], [2, 25]])
    assert_array_equal(oracles.mixer_bag(inputs, key_mask=visible, causal=True), [[1, 10], [0, 0], [2, 25]])
    assert_array_equal(oracles.mixer_bag(inputs, key_mask=[False] * 3), np.zeros((3, 2)))


def test_none_is_0_everywhere():
    assert_array_equal(oracles.mixer_none([[math.nan, 1.0]], causal=True, key_mask=[False]), [[0, 0]])


def test_fourier_by_hand():
    """Two by two: sums and differences along both axes; and a constant is left with its sum at the origin alone."""
    assert_allclose(oracles.mixer_fourier([[1.0, 2.0], [3.0, 5.0]]), [[11, -3], [-5, 1]], atol=1e-14)
    constant = np.zeros((3, 4))
    constant[0, 0] = 12
    assert_allclose(oracles.mixer_fourier(np.ones((3, 4))), constant, atol=1e-13)


def test_fourier_is_the_real_part_of_the_two_dimensional_transform():
    inputs = np.random.default_rng(0).normal(size=(5, 4))
    assert_allclose(oracles.mixer_fourier(inputs), np.fft.fft2(inputs).real, atol=1e-12)


def test_mlp_mixer_by_hand():
    """The columns (1, 2) and (0, −1): the first features 1 + 20 + 79 = 100 and 0 − 10 + 79 = 69, where gelu = x."""
    output = oracles.mixer_mlp_mixer(
        [[1.0, 0.0], [2.0, -1.0]],
        up=[[1.0, 0.0], [10.0, 0.0]],
        up_bias=[79.0, 1.0],
        down=[[1.0, 2.0], [0.0, 0.0]],
        down_bias=[0.5, 0.0],
    )
    assert_allclose(output, [[100.5, 69.5], [200, 138]])


def test_mlp_mixer_applies_the_tanh_approximation_of_gelu():
    output = oracles.mixer_mlp_mixer([[1.0]], up=[[1.0]], up_bias=[0.0], down=[[1.0]], down_bias=[0.0])
    assert_allclose(output, [[0.841191990]], rtol=1e-8)


def test_long_convolution_by_hand():
    """u = 2, 6, with the filter 10, 1 and the skip 100."""
    output = oracles.mixer_long_convolution(
        [[1.0], [2.0]], [[2.0], [3.0]], [[1.0], [2.0]], filters=[[10.0], [1.0], [math.nan]], skip=[100.0]
    )
    assert_array_equal(output, [[220], [2 * (2 + 660)]])


def test_long_convolution_leaves_out_what_is_hidden():
    output = oracles.mixer_long_convolution(
        [[1.0, 2.0], [3.0, 4.0]],
        [[1.0, 1.0], [math.nan, math.nan]],
        [[5.0, 6.0], [math.nan, 1.0]],
        filters=[[1.0, 10.0], [100.0, 1000.0]],
        skip=[0.5, 0.0],
        key_mask=[True, False],
    )
    assert_array_equal(output, [[7.5, 120], [1500, 24000]])
