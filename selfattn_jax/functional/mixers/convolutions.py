"""Convolutions along the sequence: short ones of all numbers together, and long gated ones of each by itself."""

import jax.numpy as jnp

from selfattn_jax.functional.mixers.visible import shown, visible_of
from selfattn_jax.shapes import Array, PositiveInt, accumulation_dtype, check_shapes


def convolution(
    inputs: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    kernel: Array,
    dilation: PositiveInt = 1,
) -> Array:
    """Convolves along the sequence, with gaps between the taps if it is dilated.

      yₜ = Σ_w x_{t + (w − o)·dilation} kernel_w        o = W − 1 when causal, else ⌊(W − 1)/2⌋; x is 0 outside

    Args:
      inputs: [T,D].
      causal: looks back alone.
      key_mask: [T] bool, True = holds data; hidden inputs count as 0.
      kernel: [W,D,D].
      dilation: positions between two taps.
    Returns: [T,D], in inputs' dtype; 0 where hidden.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Bai et al. 2018, arXiv:1803.01271.
    """
    check_shapes(inputs=(inputs, "TD"), kernel=(kernel, "WDD"))
    vectors, taps, length = shown(inputs, key_mask), kernel.shape[0], inputs.shape[0]
    kernel = jnp.asarray(kernel, vectors.dtype)
    before = (taps - 1 if causal else (taps - 1) // 2) * dilation
    padded = jnp.pad(vectors, ((before, (taps - 1) * dilation - before), (0, 0)))
    output = jnp.zeros_like(vectors)
    for tap in range(taps):
        output = output + padded[tap * dilation : tap * dilation + length] @ kernel[tap]
    return jnp.where(visible_of(length, key_mask)[:, None], output, 0).astype(inputs.dtype)


def long_convolution(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    filters: Array,
    skip: Array,
) -> Array:
    """Convolves over the whole past, gated before and after (Hyena of order two): O(T·log T) by Fourier transforms.

      uₛ = kₛ ⊙ vₛ        yₜ = qₜ ⊙ (Σ_{s ≤ t} filters_{t−s} ⊙ uₛ + skip ⊙ uₜ)

    Args:
      query: [T,V].  key: [T,V].  value: [T,V].
      key_mask: [T] bool, True = holds data; a hidden key may hold anything, NaN included.
      filters: [N,V], of distances 0 … N − 1, at least T of them.
      skip: [V].
    Returns: [T,V], in value's dtype.
    Raises: ValueError naming the argument whose shape or dtype is off, or filters that are too short.
    References: Poli et al. 2023, arXiv:2302.10866.
    """
    gates = {"query": (query, "TV"), "key": (key, "TV"), "value": (value, "TV")}
    sizes = check_shapes(
        {"V": query.shape[-1], "T": query.shape[0]}, **gates, filters=(filters, "NV"), skip=(skip, "V")
    )
    length = sizes["T"]
    if sizes["N"] < length:
        raise ValueError(f"filters must hold at least T={length} distances, got {sizes['N']}")
    dtype = accumulation_dtype(query, key, value)
    gated = shown(key.astype(dtype), key_mask) * shown(value.astype(dtype), key_mask)
    filters, skip = jnp.asarray(filters, dtype)[:length], jnp.asarray(skip, dtype)
    # Twice the length, so that what runs over the end does not come in again at the start.
    spectrum = jnp.fft.rfft(gated, n=2 * length, axis=0) * jnp.fft.rfft(filters, n=2 * length, axis=0)
    convolved = jnp.fft.irfft(spectrum, n=2 * length, axis=0)[:length].astype(dtype)
    query = query.astype(dtype)
    # The query of a hidden position asks too, unless it would harm the others going backward.
    query = jnp.where(visible_of(length, key_mask)[:, None] | jnp.isfinite(query), query, 0)
    return (query * (convolved + skip[None, :] * gated)).astype(value.dtype)
