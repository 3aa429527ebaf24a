"""Flax NNX modules: parameters around the functions."""

from selfattn_jax.modules import heads, masks, mixers, pieces, positions, synthesizers
from selfattn_jax.modules.attention import Attention, CrossAttention, Mixer, SelfAttention
from selfattn_jax.modules.encoder import Block, Encoder, GatedMlp, Mlp
from selfattn_jax.modules.vectors import OnValues, Parallel, VectorLayer, VectorMixer

__all__ = [
    "Attention",
    "Block",
    "CrossAttention",
    "Encoder",
    "GatedMlp",
    "Mixer",
    "Mlp",
    "OnValues",
    "Parallel",
    "SelfAttention",
    "VectorLayer",
    "VectorMixer",
    "heads",
    "masks",
    "mixers",
    "pieces",
    "positions",
    "synthesizers",
]
