"""Recurrences on heads: mixers that keep one matrix S [K,V] and read it with every query.

A hidden position leaves the state as it is, and its own query reads that state. `chunk`, how an implementation cuts the
sequence, changes nothing here. Each `mixer_NAME_weights` is worked out from the decays and the keys, without any state.
"""

import math

import numpy as np

from tests.oracles.helpers import dot, double, table, unit


def holds_data(key_mask, t):
    """True where there is no mask, or where it says that position t holds data."""
    return key_mask is None or bool(key_mask[t])


def state_history(key, value, key_mask, initial_state, update):
    """[S₀, S₁, …, S_T] with Sₜ₊₁ = update(Sₜ, t), and Sₜ₊₁ = Sₜ where t is hidden; S₀ = 0 unless given."""
    empty = np.zeros((key.shape[1], value.shape[1]))
    history = [empty if initial_state is None else double(initial_state)]
    for t in range(len(key)):
        history.append(update(history[-1], t) if holds_data(key_mask, t) else history[-1])
    return history


def decay_history(key, value, key_mask, initial_state, decay, write=lambda t: 1.0):
    """Sₜ[k,v] = e^{g(t,k)} Sₜ₋₁[k,v] + b(t) kₜ[k] vₜ[v]."""
    key, value = double(key), double(value)

    def update(state, t):
        return table(
            *state.shape,
            lambda k, v: math.exp(decay(t, k)) * state[k, v] + write(t) * key[t, k] * value[t, v],
        )

    return state_history(key, value, key_mask, initial_state, update)


def decay_weights(query, key, key_mask, decay, include_own):
    """wₜₛ = Σ_k qₜ[k] kₛ[k] exp(Σᵣ g(r,k)), over the visible r between s and t, and r = t too where t sees itself."""
    query, key = double(query), double(key)
    weights = np.zeros((len(query), len(key)))
    for t in range(len(query)):
        exponent = [0.0] * key.shape[1]
        for s in range(t if include_own else t - 1, -1, -1):
            if holds_data(key_mask, s):
                decayed = [key[s, k] * math.exp(exponent[k]) for k in range(key.shape[1])]
                weights[t, s] = dot(query[t], decayed)
                exponent = [exponent[k] + decay(s, k) for k in range(key.shape[1])]
    return weights


def delta_history(key, value, key_mask, initial_state, decay, write):
    """S' = e^{g(t)} Sₜ₋₁, Sₜ = S' + bₜ k̂ₜ (vₜ − S'ᵀ k̂ₜ)ᵀ with k̂ = k/‖k‖."""
    key, value, write = double(key), double(value), double(write)

    def update(state, t):
        direction = unit(key[t])
        state = table(*state.shape, lambda k, v: math.exp(decay(t)) * state[k, v])
        missing = [value[t, v] - dot(state[:, v], direction) for v in range(state.shape[1])]
        return table(*state.shape, lambda k, v: state[k, v] + write[t] * direction[k] * missing[v])

    return state_history(key, value, key_mask, initial_state, update)


def delta_weights(query, key, key_mask, decay, write):
    """wₜₛ = bₛ aₛ·k̂ₛ/√K, where aₜ = qₜ and backwards in time aₛ₋₁ = e^{g(s)} (aₛ − bₛ (aₛ·k̂ₛ) k̂ₛ)."""
    query, key, write = double(query), double(key), double(write)
    weights = np.zeros((len(query), len(key)))
    for t in range(len(query)):
        reader = [float(x) for x in query[t]]
        for s in range(t, -1, -1):
            if holds_data(key_mask, s):
                direction = unit(key[s])
                amount = write[s] * dot(reader, direction)
                weights[t, s] = amount / math.sqrt(key.shape[1])
                reader = [math.exp(decay(s)) * (a - amount * k) for a, k in zip(reader, direction, strict=True)]
    return weights


def read_history(query, history):
    """yₜ = qₜᵀ Sₜ, with history[t + 1] the state that position t has left behind."""
    query = double(query)
    return table(len(query), history[0].shape[1], lambda t, v: dot(query[t], history[t + 1][:, v]))


def mixer_retention(query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, log_decay):
    """Sₜ = e^{g} Sₜ₋₁ + kₜ vₜᵀ, yₜ = qₜᵀ Sₜ/√K (arXiv:2307.08621)."""
    assert causal
    history = decay_history(key, value, key_mask, initial_state, lambda t, k: float(log_decay))
    return read_history(query, history) / math.sqrt(history[0].shape[0])


def mixer_retention_state(query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, log_decay):
    """S_T of Sₜ = e^{g} Sₜ₋₁ + kₜ vₜᵀ."""
    assert causal
    return decay_history(key, value, key_mask, initial_state, lambda t, k: float(log_decay))[-1]


def mixer_retention_weights(query, key, *, causal=True, key_mask=None, chunk=None, log_decay):
    """wₜₛ = e^{n g} qₜ·kₛ/√K with n the visible positions after s up to t; 0 in the future and where s is hidden."""
    assert causal
    query, key = double(query), double(key)

    def weight(t, s):
        if s > t or not holds_data(key_mask, s):
            return 0.0
        steps = sum(holds_data(key_mask, r) for r in range(s + 1, t + 1))
        decay = math.exp(steps * float(log_decay)) if steps else 1.0
        return decay * dot(query[t], key[s]) / math.sqrt(key.shape[1])

    return table(len(query), len(key), weight)


def mixer_simple_gated(query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, log_decay):
    """Sₜ = e^{gₜ} Sₜ₋₁ + kₜ vₜᵀ, yₜ = qₜᵀ Sₜ/√K (arXiv:2405.21060, 2503.02130)."""
    assert causal
    history = decay_history(key, value, key_mask, initial_state, lambda t, k: double(log_decay)[t])
    return read_history(query, history) / math.sqrt(history[0].shape[0])


def mixer_simple_gated_state(
    query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, log_decay
):
    """S_T of Sₜ = e^{gₜ} Sₜ₋₁ + kₜ vₜᵀ."""
    assert causal
    return decay_history(key, value, key_mask, initial_state, lambda t, k: double(log_decay)[t])[-1]


def mixer_simple_gated_weights(query, key, *, causal=True, key_mask=None, chunk=None, log_decay):
    """wₜₛ = exp(Σ_{s<r≤t} gᵣ) qₜ·kₛ/√K over the visible r; 0 in the future and where s is hidden."""
    assert causal
    weights = decay_weights(query, key, key_mask, lambda r, k: double(log_decay)[r], include_own=True)
    return weights / math.sqrt(double(key).shape[1])


def mixer_gated_linear(query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, log_decay):
    """Sₜ = diag(e^{gₜ}) Sₜ₋₁ + kₜ vₜᵀ, yₜ = qₜᵀ Sₜ/√K (arXiv:2312.06635)."""
    assert causal
    history = decay_history(key, value, key_mask, initial_state, lambda t, k: double(log_decay)[t, k])
    return read_history(query, history) / math.sqrt(history[0].shape[0])


def mixer_gated_linear_state(
    query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, log_decay
):
    """S_T of Sₜ = diag(e^{gₜ}) Sₜ₋₁ + kₜ vₜᵀ."""
    assert causal
    return decay_history(key, value, key_mask, initial_state, lambda t, k: double(log_decay)[t, k])[-1]


def mixer_gated_linear_weights(query, key, *, causal=True, key_mask=None, chunk=None, log_decay):
    """wₜₛ = qₜᵀ diag(exp(Σ_{s<r≤t} gᵣ)) kₛ/√K over the visible r; 0 in the future and where s is hidden."""
    assert causal
    weights = decay_weights(query, key, key_mask, lambda r, k: double(log_decay)[r, k], include_own=True)
    return weights / math.sqrt(double(key).shape[1])


def mixer_delta(query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, write):
    """Sₜ = Sₜ₋₁ + bₜ k̂ₜ (vₜ − Sₜ₋₁ᵀ k̂ₜ)ᵀ, yₜ = qₜᵀ Sₜ/√K, k̂ = k/‖k‖ (arXiv:2406.06484)."""
    assert causal
    history = delta_history(key, value, key_mask, initial_state, lambda t: 0.0, write)
    return read_history(query, history) / math.sqrt(history[0].shape[0])


def mixer_delta_state(query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, write):
    """S_T of Sₜ = Sₜ₋₁ + bₜ k̂ₜ (vₜ − Sₜ₋₁ᵀ k̂ₜ)ᵀ."""
    assert causal
    return delta_history(key, value, key_mask, initial_state, lambda t: 0.0, write)[-1]


def mixer_delta_weights(query, key, *, causal=True, key_mask=None, chunk=None, write):
    """wₜₛ = bₛ qₜᵀ (I − bₜ k̂ₜ k̂ₜᵀ) … (I − bₛ₊₁ k̂ₛ₊₁ k̂ₛ₊₁ᵀ) k̂ₛ/√K; 0 in the future and where s is hidden."""
    assert causal
    return delta_weights(query, key, key_mask, lambda s: 0.0, write)


def mixer_gated_delta(
    query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, log_decay, write
):
    """S' = e^{gₜ} Sₜ₋₁, Sₜ = S' + bₜ k̂ₜ (vₜ − S'ᵀ k̂ₜ)ᵀ, yₜ = qₜᵀ Sₜ/√K, k̂ = k/‖k‖ (arXiv:2412.06464)."""
    assert causal
    history = delta_history(key, value, key_mask, initial_state, lambda t: double(log_decay)[t], write)
    return read_history(query, history) / math.sqrt(history[0].shape[0])


def mixer_gated_delta_state(
    query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, log_decay, write
):
    """S_T of S' = e^{gₜ} Sₜ₋₁, Sₜ = S' + bₜ k̂ₜ (vₜ − S'ᵀ k̂ₜ)ᵀ."""
    assert causal
    return delta_history(key, value, key_mask, initial_state, lambda t: double(log_decay)[t], write)[-1]


def mixer_gated_delta_weights(query, key, *, causal=True, key_mask=None, chunk=None, log_decay, write):
    """wₜₛ = bₛ exp(Σ_{s<r≤t} gᵣ) qₜᵀ (I − bₜ k̂ₜ k̂ₜᵀ) … (I − bₛ₊₁ k̂ₛ₊₁ k̂ₛ₊₁ᵀ) k̂ₛ/√K; 0 where hidden or to come."""
    assert causal
    return delta_weights(query, key, key_mask, lambda s: double(log_decay)[s], write)


def ssd_history(key, value, key_mask, initial_state, step, rate):
    """Sₜ = e^{−aΔₜ} Sₜ₋₁ + Δₜ kₜ vₜᵀ."""
    step, rate = double(step), float(rate)
    return decay_history(key, value, key_mask, initial_state, lambda t, k: -rate * step[t], lambda t: step[t])


def mixer_ssd(query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, step, rate, skip):
    """Sₜ = e^{−aΔₜ} Sₜ₋₁ + Δₜ kₜ vₜᵀ, yₜ = qₜᵀ Sₜ + d vₜ, without d vₜ where t is hidden (arXiv:2405.21060)."""
    assert causal
    output = read_history(query, ssd_history(key, value, key_mask, initial_state, step, rate))
    for t in range(len(output)):
        if holds_data(key_mask, t):
            output[t] += float(skip) * double(value)[t]
    return output


def mixer_ssd_state(query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, step, rate, skip):
    """S_T of Sₜ = e^{−aΔₜ} Sₜ₋₁ + Δₜ kₜ vₜᵀ."""
    assert causal
    return ssd_history(key, value, key_mask, initial_state, step, rate)[-1]


def mixer_ssd_weights(query, key, *, causal=True, key_mask=None, chunk=None, step, rate, skip):
    """wₜₛ = Δₛ exp(−a Σ_{s<r≤t} Δᵣ) qₜ·kₛ, and d more at s = t; 0 in the future and where s is hidden."""
    assert causal
    step = double(step)
    weights = decay_weights(query, key, key_mask, lambda r, k: -float(rate) * step[r], include_own=True)
    for s in range(len(weights)):
        if holds_data(key_mask, s):
            weights[:, s] *= step[s]
            weights[s, s] += float(skip)
    return weights


def mixer_rwkv(query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, log_decay, bonus):
    """yₜ = qₜᵀ(Sₜ₋₁ + diag(u) kₜ vₜᵀ), where hidden qₜᵀSₜ₋₁; Sₜ = diag(e^{gₜ}) Sₜ₋₁ + kₜ vₜᵀ (arXiv:2404.05892)."""
    assert causal
    query, key, value, bonus = double(query), double(key), double(value), double(bonus)
    history = decay_history(key, value, key_mask, initial_state, lambda t, k: double(log_decay)[t, k])

    def read(t, v):
        own = holds_data(key_mask, t)
        total = 0.0
        for k in range(key.shape[1]):
            seen = history[t][k, v] + (bonus[k] * key[t, k] * value[t, v] if own else 0.0)
            total += query[t, k] * seen
        return total

    return table(len(query), value.shape[1], read)


def mixer_rwkv_state(
    query, key, value, *, causal=True, key_mask=None, initial_state=None, chunk=None, log_decay, bonus
):
    """S_T of Sₜ = diag(e^{gₜ}) Sₜ₋₁ + kₜ vₜᵀ."""
    assert causal
    return decay_history(key, value, key_mask, initial_state, lambda t, k: double(log_decay)[t, k])[-1]


def mixer_rwkv_weights(query, key, *, causal=True, key_mask=None, chunk=None, log_decay, bonus):
    """wₜₛ = qₜᵀ diag(exp(Σ_{s<r<t} gᵣ)) kₛ where s < t, qₜᵀ diag(u) kₜ at s = t; 0 to come and where s is hidden."""
    assert causal
    query, key = double(query), double(key)
    weights = decay_weights(query, key, key_mask, lambda r, k: double(log_decay)[r, k], include_own=False)
    for t in range(len(query)):
        if holds_data(key_mask, t):
            weights[t, t] = sum(float(u) * q * k for u, q, k in zip(bonus, query[t], key[t], strict=True))
    return weights
