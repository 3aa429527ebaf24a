"""Sequence mixers: from the inputs [T,D] straight to the output [T,D], and the long convolution of one head.

A hidden position (key_mask False) is skipped: it leaves every state as it is, and its output is 0.
"""

import cmath
import math

import numpy as np

from tests.oracles.helpers import dot, double, sigmoid, table


def visible_positions(length, key_mask):
    """{t : key_maskₜ}, in order; all of them without a mask."""
    return [t for t in range(length) if key_mask is None or key_mask[t]]


def everything_visible(key_mask):
    """True where there is no mask, or one that hides nothing."""
    return key_mask is None or all(bool(visible) for visible in key_mask)


def complex_matrix(real, imag):
    """A + iB."""
    real, imag = double(real), double(imag)
    return table(*real.shape, lambda i, j: complex(real[i, j], imag[i, j]), np.complex128)


def run_lru(inputs, key_mask, nu, theta, input_real, input_imag, output_real, output_imag, skip, initial_state):
    """The outputs and the final state of `mixer_lru`."""
    inputs, nu, theta, skip = double(inputs), double(nu), double(theta), double(skip)
    project_in, project_out = complex_matrix(input_real, input_imag), complex_matrix(output_real, output_imag)
    length, width = inputs.shape
    eigenvalues = [cmath.exp(complex(-math.exp(nu[n]), math.exp(theta[n]))) for n in range(len(nu))]
    scales = [math.sqrt(-math.expm1(-2 * math.exp(nu[n]))) for n in range(len(nu))]  # √(1 − |λ|²), |λ| = exp(−exp ν)
    state = [0j] * len(nu) if initial_state is None else [complex(x) for x in initial_state]
    output = np.zeros((length, width))
    for t in visible_positions(length, key_mask):
        for n in range(len(nu)):
            entering = sum((inputs[t, d] * project_in[d, n] for d in range(width)), 0j)
            state[n] = eigenvalues[n] * state[n] + scales[n] * entering
        for d in range(width):
            read = sum((state[n] * project_out[n, d] for n in range(len(nu))), 0j)
            output[t, d] = read.real + skip[d] * inputs[t, d]
    return output, np.array(state, np.complex128)


def mixer_lru(
    inputs,
    *,
    causal=True,
    key_mask=None,
    nu,
    theta,
    input_real,
    input_imag,
    output_real,
    output_imag,
    skip,
    initial_state=None,
):
    """xₜ = λxₜ₋₁ + γ(uₜB), yₜ = Re(xₜC) + d uₜ, λ = exp(−exp ν + i exp θ), γ = √(1 − |λ|²) (arXiv:2303.06349)."""
    assert causal
    return run_lru(inputs, key_mask, nu, theta, input_real, input_imag, output_real, output_imag, skip, initial_state)[
        0
    ]


def mixer_lru_state(
    inputs,
    *,
    causal=True,
    key_mask=None,
    nu,
    theta,
    input_real,
    input_imag,
    output_real,
    output_imag,
    skip,
    initial_state=None,
):
    """x_T [N], complex, of xₜ = λ xₜ₋₁ + γ (uₜ B)."""
    assert causal
    return run_lru(inputs, key_mask, nu, theta, input_real, input_imag, output_real, output_imag, skip, initial_state)[
        1
    ]


def run_s4d(inputs, key_mask, log_step, log_decay, frequency, output_real, output_imag, skip, initial_state):
    """The outputs and the final state of `mixer_s4d`."""
    inputs, log_step, log_decay, frequency = double(inputs), double(log_step), double(log_decay), double(frequency)
    project_out, skip = complex_matrix(output_real, output_imag), double(skip)
    length, width = inputs.shape
    shape = log_decay.shape
    continuous = table(*shape, lambda d, n: complex(-math.exp(log_decay[d, n]), frequency[d, n]), np.complex128)
    kept = table(*shape, lambda d, n: cmath.exp(math.exp(log_step[d]) * continuous[d, n]), np.complex128)
    entering = table(
        *shape, lambda d, n: np.expm1(math.exp(log_step[d]) * continuous[d, n]) / continuous[d, n], np.complex128
    )
    state = np.zeros(shape, np.complex128) if initial_state is None else np.array(initial_state, np.complex128)
    output = np.zeros((length, width))
    for t in visible_positions(length, key_mask):
        for d in range(width):
            read = 0j
            for n in range(shape[1]):
                state[d, n] = kept[d, n] * state[d, n] + entering[d, n] * inputs[t, d]
                read += project_out[d, n] * state[d, n]
            output[t, d] = 2 * read.real + skip[d] * inputs[t, d]
    return output, state


def mixer_s4d(
    inputs,
    *,
    causal=True,
    key_mask=None,
    log_step,
    log_decay,
    frequency,
    output_real,
    output_imag,
    skip,
    initial_state=None,
):
    """xₜ = Āxₜ₋₁ + B̄uₜ, yₜ = 2 Re Σₙ Cxₜ + d uₜ, Ā = e^{ΔA}, B̄ = (Ā − 1)/A, A = −exp(a) + iω (arXiv:2206.11893)."""
    assert causal
    return run_s4d(inputs, key_mask, log_step, log_decay, frequency, output_real, output_imag, skip, initial_state)[0]


def mixer_s4d_state(
    inputs,
    *,
    causal=True,
    key_mask=None,
    log_step,
    log_decay,
    frequency,
    output_real,
    output_imag,
    skip,
    initial_state=None,
):
    """x_T [D,N], complex, of xₜ = Ā xₜ₋₁ + B̄ uₜ."""
    assert causal
    return run_s4d(inputs, key_mask, log_step, log_decay, frequency, output_real, output_imag, skip, initial_state)[1]


def affine(vector, weight, bias, column):
    """(x W + b)[column]."""
    return dot(vector, double(weight)[:, column]) + float(double(bias)[column])


def run_gru(inputs, key_mask, input_weight, hidden_weight, input_bias, hidden_bias, initial_state):
    """The outputs and the final state of `mixer_gru`."""
    inputs = double(inputs)
    length, width = inputs.shape
    state = [0.0] * width if initial_state is None else [float(x) for x in initial_state]
    output = np.zeros((length, width))
    for t in visible_positions(length, key_mask):
        new = []
        for d in range(width):
            of_input = [affine(inputs[t], input_weight, input_bias, gate * width + d) for gate in range(3)]
            of_state = [affine(state, hidden_weight, hidden_bias, gate * width + d) for gate in range(3)]
            reset, update = sigmoid(of_input[0] + of_state[0]), sigmoid(of_input[1] + of_state[1])
            candidate = math.tanh(of_input[2] + reset * of_state[2])
            new.append((1 - update) * candidate + update * state[d])
        state = new
        output[t] = state
    return output, np.array(state)


def mixer_gru(
    inputs,
    *,
    causal=True,
    key_mask=None,
    input_weight,
    hidden_weight,
    input_bias,
    hidden_bias,
    initial_state=None,
):
    """h' = (1−z)n + zh; r, z = σ(xW + b + hU + c), n = tanh(xW + b + r(hU + c)); columns r, z, n (arXiv:1406.1078)."""
    assert causal
    return run_gru(inputs, key_mask, input_weight, hidden_weight, input_bias, hidden_bias, initial_state)[0]


def mixer_gru_state(
    inputs,
    *,
    causal=True,
    key_mask=None,
    input_weight,
    hidden_weight,
    input_bias,
    hidden_bias,
    initial_state=None,
):
    """h_T [D] of `mixer_gru`."""
    assert causal
    return run_gru(inputs, key_mask, input_weight, hidden_weight, input_bias, hidden_bias, initial_state)[1]


def run_lstm(inputs, key_mask, input_weight, hidden_weight, input_bias, hidden_bias, initial_state):
    """The outputs and the final state (hidden, cell) of `mixer_lstm`."""
    inputs = double(inputs)
    length, width = inputs.shape
    hidden, cell = ([0.0] * width, [0.0] * width) if initial_state is None else initial_state
    hidden, cell = [float(x) for x in hidden], [float(x) for x in cell]
    output = np.zeros((length, width))
    for t in visible_positions(length, key_mask):
        before = hidden
        hidden = []
        for d in range(width):
            gates = [
                affine(inputs[t], input_weight, input_bias, gate * width + d)
                + affine(before, hidden_weight, hidden_bias, gate * width + d)
                for gate in range(4)
            ]
            cell[d] = sigmoid(gates[1]) * cell[d] + sigmoid(gates[0]) * math.tanh(gates[2])
            hidden.append(sigmoid(gates[3]) * math.tanh(cell[d]))
        output[t] = hidden
    return output, (np.array(hidden), np.array(cell))


def mixer_lstm(
    inputs,
    *,
    causal=True,
    key_mask=None,
    input_weight,
    hidden_weight,
    input_bias,
    hidden_bias,
    initial_state=None,
):
    """c' = σ(f)c + σ(i)tanh(g), h' = σ(o)tanh(c'): (i, f, g, o) = xW + b + hU + c (Hochreiter & Schmidhuber, 1997)."""
    assert causal
    return run_lstm(inputs, key_mask, input_weight, hidden_weight, input_bias, hidden_bias, initial_state)[0]


def mixer_lstm_state(
    inputs,
    *,
    causal=True,
    key_mask=None,
    input_weight,
    hidden_weight,
    input_bias,
    hidden_bias,
    initial_state=None,
):
    """(h_T, c_T), each [D], of `mixer_lstm`."""
    assert causal
    return run_lstm(inputs, key_mask, input_weight, hidden_weight, input_bias, hidden_bias, initial_state)[1]


def mixer_convolution(inputs, *, causal=False, key_mask=None, kernel, dilation=1):
    """yₜ = Σ_w x_{t+(w−o)δ} K_w, o = W−1 when causal, else ⌊(W−1)/2⌋; x = 0 outside and hidden (arXiv:1803.01271)."""
    inputs, kernel = double(inputs), double(kernel)
    taps = len(kernel)
    origin = taps - 1 if causal else (taps - 1) // 2
    visible = visible_positions(len(inputs), key_mask)
    output = np.zeros(inputs.shape)
    for t in visible:
        for w in range(taps):
            source = t + (w - origin) * dilation
            if source in visible:
                for d in range(inputs.shape[1]):
                    output[t, d] += dot(inputs[source], kernel[w, :, d])
    return output


def mixer_bag(inputs, *, causal=False, key_mask=None):
    """yₜ = the mean of the visible xₛ, s ≤ t when causal; 0 where hidden (Iyyer et al., 2015)."""
    inputs = double(inputs)
    visible = visible_positions(len(inputs), key_mask)
    output = np.zeros(inputs.shape)
    for t in visible:
        members = [s for s in visible if s <= t or not causal]
        for d in range(inputs.shape[1]):
            output[t, d] = sum(inputs[s, d] for s in members) / len(members)
    return output


def mixer_none(inputs, *, causal=False, key_mask=None):
    """yₜ = 0, whatever the order and whatever is hidden."""
    return np.zeros(double(inputs).shape)


def mixer_fourier(inputs, *, causal=False, key_mask=None):
    """yₜ[d] = Re Σₛ e^{−2πi ts/T} Σ_c e^{−2πi dc/D} xₛ[c] (arXiv:2105.03824)."""
    assert not causal and everything_visible(key_mask)
    inputs = double(inputs)
    length, width = inputs.shape

    def turn(product, period):
        return cmath.exp(-2j * math.pi * (product % period) / period)

    channels = table(
        length, width, lambda s, d: sum(turn(d * c, width) * inputs[s, c] for c in range(width)), np.complex128
    )
    return table(length, width, lambda t, d: sum(turn(t * s, length) * channels[s, d] for s in range(length)).real)


def tanh_gelu(x):
    """gelu(x) ≈ x/2 (1 + tanh(√(2/π)(x + 0.044715 x³)))."""
    return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def mixer_mlp_mixer(inputs, *, causal=False, key_mask=None, up, up_bias, down, down_bias):
    """y = (gelu(xᵀ U + b) V + c)ᵀ, gelu by its tanh approximation (arXiv:2105.01601)."""
    assert not causal and everything_visible(key_mask)
    inputs, up = double(inputs), double(up)
    length, width = inputs.shape
    assert length == len(up)
    output = np.zeros(inputs.shape)
    for d in range(width):
        hidden = [tanh_gelu(affine(inputs[:, d], up, up_bias, f)) for f in range(up.shape[1])]
        for t in range(length):
            output[t, d] = affine(hidden, down, down_bias, t)
    return output


def mixer_long_convolution(query, key, value, *, causal=True, key_mask=None, filters, skip):
    """yₜ = qₜ ⊙ (Σ_{s≤t} hₜ₋ₛ ⊙ uₛ + d ⊙ uₜ), u = k ⊙ v, 0 where hidden (arXiv:2302.10866)."""
    assert causal
    query, key, value, filters, skip = double(query), double(key), double(value), double(filters), double(skip)
    assert len(filters) >= len(query)
    output = np.zeros(value.shape)
    for t in range(len(query)):
        for v in range(value.shape[1]):
            total = 0.0
            for s in visible_positions(t + 1, key_mask):
                tap = filters[t - s, v] + (skip[v] if s == t else 0.0)
                total += tap * key[s, v] * value[s, v]
            output[t, v] = query[t, v] * total
    return output
