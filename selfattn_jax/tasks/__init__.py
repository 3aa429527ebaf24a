"""Synthetic and small real tasks: pure streams of examples, with the baselines that do not solve them."""

from selfattn_jax.tasks.adding import adding
from selfattn_jax.tasks.digits import digits
from selfattn_jax.tasks.induction import induction
from selfattn_jax.tasks.recall import multi_query_recall
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
    shortcut_scores,
    stream_key,
)

__all__ = [
    "STREAMS",
    "Example",
    "Task",
    "adding",
    "digits",
    "evaluation_set",
    "identity_hash",
    "induction",
    "is_solved",
    "loss",
    "multi_query_recall",
    "points",
    "predict",
    "sample_batch",
    "score",
    "shortcut_scores",
    "stream_key",
]
