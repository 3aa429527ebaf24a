"""Flax NNX modules: parameters around the functions."""

from selfattn_jax.modules import heads, masks, pieces, positions
from selfattn_jax.modules.attention import Attention, CrossAttention, Mixer, SelfAttention
from selfattn_jax.modules.encoder import Block, Encoder, GatedMlp, Mlp

__all__ = [
    "Attention",
    "Block",
    "CrossAttention",
    "Encoder",
    "GatedMlp",
    "Mixer",
    "Mlp",
    "SelfAttention",
    "heads",
    "masks",
    "pieces",
    "positions",
]
