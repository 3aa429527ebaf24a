"""A functional research toolkit of self-attention: compose, run and compare.

    import selfattn_jax as sa

    sa.attention(query, key, value, mask=sa.masks.causal, score=sa.scores.cosine)
    sa.attention(query, key, value, biases=[sa.bind(sa.biases.alibi, slope=sa.lead(sa.biases.alibi_slopes(8), "H"))])

One head and one sequence: `sa.attend`. Heads and batch: `sa.attention`. Parameters around them: `sa.modules`.
"""

from selfattn_jax import heads, modules, tasks
from selfattn_jax.attention import attention, explain, inspect, mix, mix_weights
from selfattn_jax.cross_heads import differential_attention, talking_attention
from selfattn_jax.functional import (
    aggregate,
    biases,
    embeddings,
    encode,
    masks,
    mixers,
    modifiers,
    normalizers,
    patterns,
    relative,
    rowwise,
    scores,
)
from selfattn_jax.functional.attend import attend
from selfattn_jax.functional.bind import bind, lead

__all__ = [
    "aggregate",
    "attend",
    "attention",
    "biases",
    "bind",
    "differential_attention",
    "embeddings",
    "encode",
    "explain",
    "heads",
    "inspect",
    "lead",
    "masks",
    "mix",
    "mix_weights",
    "mixers",
    "modifiers",
    "modules",
    "normalizers",
    "patterns",
    "relative",
    "rowwise",
    "scores",
    "talking_attention",
    "tasks",
]
