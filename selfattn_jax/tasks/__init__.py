"""Synthetic and small real tasks: pure streams of examples, with the baselines that do not solve them."""

from selfattn_jax.tasks.adding import adding
from selfattn_jax.tasks.arithmetic import binary_addition, cycle_navigation, modular_arithmetic, stack_manipulation
from selfattn_jax.tasks.associative import associative_recall, needle
from selfattn_jax.tasks.bits import cumulative_parity, even_pairs, first, majority, parity
from selfattn_jax.tasks.copying import copy, duplicate, missing_duplicate, odds_first, reverse, selective_copy
from selfattn_jax.tasks.digits import digits
from selfattn_jax.tasks.hops import induction_extrapolation, k_hop
from selfattn_jax.tasks.induction import induction
from selfattn_jax.tasks.languages import dyck, flip_flop
from selfattn_jax.tasks.listops import listops, listops_files
from selfattn_jax.tasks.mad import fuzzy_recall, noisy_recall, recall
from selfattn_jax.tasks.memory import compression, memorization
from selfattn_jax.tasks.multi_query import multi_query_recall
from selfattn_jax.tasks.pathfinder import pathfinder
from selfattn_jax.tasks.sorting import bucket_sort, histogram, most_frequent, sort
from selfattn_jax.tasks.task import (
    STREAMS,
    Example,
    Task,
    evaluation_set,
    identity_hash,
    is_solved,
    loss,
    points,
    predict,
    sample_batch,
    score,
    shortcut_points,
    shortcut_scores,
    stream_key,
)
from selfattn_jax.tasks.text import text, text_classification

__all__ = [
    "STREAMS",
    "Example",
    "Task",
    "adding",
    "associative_recall",
    "binary_addition",
    "bucket_sort",
    "compression",
    "copy",
    "cumulative_parity",
    "cycle_navigation",
    "digits",
    "duplicate",
    "dyck",
    "evaluation_set",
    "even_pairs",
    "first",
    "flip_flop",
    "fuzzy_recall",
    "histogram",
    "identity_hash",
    "induction",
    "induction_extrapolation",
    "is_solved",
    "k_hop",
    "listops",
    "listops_files",
    "loss",
    "majority",
    "memorization",
    "missing_duplicate",
    "modular_arithmetic",
    "most_frequent",
    "multi_query_recall",
    "needle",
    "noisy_recall",
    "odds_first",
    "parity",
    "pathfinder",
    "points",
    "predict",
    "recall",
    "reverse",
    "sample_batch",
    "score",
    "selective_copy",
    "shortcut_points",
    "shortcut_scores",
    "sort",
    "stack_manipulation",
    "stream_key",
    "text",
    "text_classification",
]
