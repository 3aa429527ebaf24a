"""What a task is, the streams its examples come from, and how answers to it are scored."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from selfattn_jax.shapes import Array, accumulation_dtype

Stream = Literal["init", "train", "validation", "test", "shortcuts"]
STREAMS: tuple[Stream, ...] = get_args(Stream)


class Example(NamedTuple):
    """One sequence and what is asked of it.

    inputs: [T] int32 tokens, or [T,F] float32.
    targets: [T] int32 (a class per position), [] int32 (a class per sequence), [M] int32 (M classes per sequence) or []
      float32 (a number).
    weights: like targets, float32: how much a target counts (0 = not asked).
    key_mask: [T] bool, True where the sequence holds data (False = padding).
    distance: like targets, int32: how far away lies what the target depends on (0 = undefined).
    difficulty: like targets, int32: how hard a target is, in the task's own unit (0 = undefined).
    """

    inputs: Array
    targets: Array
    weights: Array
    key_mask: Array
    distance: Array
    difficulty: Array


Sample = Callable[..., Example]
Shortcut = Callable[[Array, Array], Array]


@dataclass(
    frozen=True, eq=False, kw_only=True
)  # compared and hashed by identity, so that `jit` takes a task as a static argument
class Task:
    """A stream of examples with what a model must know to be built for it, and how it is judged.

    name: the catalogue name.
    version: raised whenever the data change.
    length: T.
    vocabulary: N of the input tokens; None = continuous inputs.
    features: F of continuous inputs; None = tokens.
    outputs: classes, or 1 for a number.
    per: whether a target belongs to each position or to the sequence.
    answers: M, how many classes are asked of one sequence; None = one, and no axis for it.
    metric: accuracy (higher is better) or mean_squared_error (lower is better).
    solved_at: the score from which a run counts as solved.
    causal: the default of the model's causality.
    sample: rng → one Example; pure, goes through `jit` and `vmap`. Where there is data: (rng, data) → one Example.
    data: arrays that examples are made of, too many to be constants of a program, or a function that makes them when
      they are first needed; None = there are none.
    shortcuts: name → (rng, inputs) → predictions shaped like targets; baselines that do not solve the task.
    fixed: the validation and test split of data that are not drawn, Example [N…] each, or a function that makes them;
      None = drawn like the training data.
    padded: whether any key_mask has a False in it.
    alphabet: what a person would write for each token, in order; None = its number.
    classes: what a person would write for each class, in order; None = its number.

    Raises: ValueError naming the field that contradicts another.
    """

    name: str
    version: int
    length: int
    vocabulary: int | None = None
    features: int | None = None
    outputs: int
    per: Literal["position", "sequence"]
    metric: Literal["accuracy", "mean_squared_error"] = "accuracy"
    solved_at: float = 0.99
    causal: bool
    sample: Sample
    shortcuts: Mapping[str, Shortcut]
    fixed: Mapping[str, Example] | Callable[[], Mapping[str, Example]] | None = None
    padded: bool = False
    answers: int | None = None
    data: Any = None
    alphabet: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        one_kind = (self.vocabulary is None) != (self.features is None)
        require(one_kind, "vocabulary", self.vocabulary, f"None just when features is given (features={self.features})")
        fits = self.outputs == 1 or self.metric == "accuracy"
        require(fits, "outputs", self.outputs, "1 when the metric is mean_squared_error")
        whole = self.answers is None or self.per == "sequence"
        require(whole, "answers", self.answers, "None when a target belongs to each position")

    @cached_property
    def arrays(self) -> Any:
        """The data, made if they are not there yet."""
        with jax.ensure_compile_time_eval():  # a program that is being traced may be the first to ask
            return self.data() if callable(self.data) else self.data

    @cached_property
    def splits(self) -> Mapping[str, Example]:
        """The fixed splits, made if they are not there yet; empty where all streams are drawn."""
        with jax.ensure_compile_time_eval():
            return (self.fixed() if callable(self.fixed) else self.fixed) or {}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example's inputs: [T] tokens or [T,F] numbers."""
        return (self.length,) if self.features is None else (self.length, self.features)

    def key_mask(self, example: Example) -> Array | None:
        """What a model is told of padding: nothing where there is none, so that mixers which cannot hide keys run."""
        return example.key_mask if self.padded else None

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger score is a better one."""
        return self.metric == "accuracy"


def require(holds: bool, knob: str, got: object, bound: str) -> None:
    """Raises ValueError naming the knob, what came and the bound, unless the bound holds."""
    if not holds:
        raise ValueError(f"{knob}={got!r}: {knob} must be {bound}")


def require_lengths(shortest: int, longest: int, least: int = 1) -> None:
    """Refuses lengths between which no sequence fits."""
    require(shortest >= least, "shortest", shortest, f"at least {least}")
    require(longest >= shortest, "longest", longest, f"at least shortest = {shortest}")


def stream_key(seed: int | Array, stream: Stream) -> Array:
    """The typed key from which one stream of a seed derives; `seed` may be traced.

    Streams of a seed start from different keys. Nothing else may be derived from `key(seed)` itself, nor a stream's key
    be both split and folded: `split(key, n)[i]` and `fold_in(key, i)` are the same key. Shortcuts have a stream of
    their own: with the keys of the examples that they answer they would draw the very same numbers.

    Raises: ValueError listing the streams.
    """
    require(stream in STREAMS, "stream", stream, f"one of {', '.join(STREAMS)}")
    return jax.random.fold_in(jax.random.key(seed), STREAMS.index(stream))


def integers_below(bits: Array, bound: int | Array) -> Array:
    """Random bits (uint32) as int32 of 0 … bound − 1; no value is likelier than another by more than bound / 2³².

    A task draws all its numbers from one call of `jax.random.bits`: it is the calls that take time, to run and to
    compile, not the bits.
    """
    return (bits % jnp.asarray(bound, jnp.uint32)).astype(jnp.int32)


def unit_interval(bits: Array) -> Array:
    """Random bits (uint32) as float32 of [0, 1), multiples of 2⁻²⁴."""
    return (bits >> 8).astype(jnp.float32) * 2.0**-24


def draw_length(bits: Array, shortest: int, longest: int) -> Array:
    """Random bits (uint32) as a number of symbols, uniform from `shortest` to `longest`."""
    return shortest + integers_below(bits, longest - shortest + 1)


def make_example(
    inputs: Array,
    targets: Array,
    asked: Array,
    *,
    key_mask: Array | None = None,
    distance: Array | int = 0,
    difficulty: Array | int = 0,
) -> Example:
    """An Example of weights 0 and 1, in which nothing is said of what is not asked.

    Args:
      inputs: [T] int32, or [T,F] float32; what is padding becomes 0.
      targets: int32.  asked: bool, like targets.
      key_mask: [T] bool; None = no padding.
      distance, difficulty: int32, like targets or the same for all.
    Returns: the example.
    """
    mask = jnp.ones(inputs.shape[0], bool) if key_mask is None else key_mask
    shown = inputs if key_mask is None else jnp.where(mask, inputs, 0)

    def of_what_is_asked(numbers: Array | int) -> Array:
        return jnp.where(asked, jnp.broadcast_to(jnp.asarray(numbers, jnp.int32), asked.shape), 0)

    weights = asked.astype(jnp.float32)
    return Example(shown, of_what_is_asked(targets), weights, mask, *map(of_what_is_asked, (distance, difficulty)))


def sample_batch(task: Task, rng: Array, size: int, data: Any = None) -> Example:
    """`size` independent examples: an Example whose arrays have a leading axis B.

    Args:
      task: what to sample.  rng: a key.  size: B.
      data: the task's, as an argument of a program and not a constant of it; None = as the task holds it.
    Returns: the examples.
    """
    keys = jax.random.split(rng, size)
    if task.data is None:
        return jax.vmap(task.sample)(keys)
    return jax.vmap(task.sample, in_axes=(0, None))(keys, task.arrays if data is None else data)


_sample_batch_in_one_program = jax.jit(sample_batch, static_argnames=("task", "size"))


def evaluation_set(task: Task, stream: Stream, size: int, seed: int) -> Example:
    """The examples on which a stream of a seed is judged: an Example [size,…], always the same for the same arguments.

    A task that has a fixed split of real data gives that split, whatever `size` and `seed`.

    Raises: ValueError when `size` is below 1 or the stream is unknown.
    """
    rng = stream_key(seed, stream)
    if stream in task.splits:
        return task.splits[stream]
    require(size >= 1, "size", size, "at least 1")
    return _sample_batch_in_one_program(task, rng, size, task.arrays)


def predict(task: Task, outputs: Array) -> Array:
    """What a model's outputs [...,N] answer: the likeliest class (int32), or the number itself."""
    if task.metric == "accuracy":
        return jnp.argmax(outputs, axis=-1).astype(jnp.int32)
    return outputs[..., 0]


def loss(task: Task, outputs: Array, targets: Array, weights: Array) -> Array:
    """The weighted mean of the cross-entropy (accuracy) or of the squared error; 0 where nothing is asked.

        Σ w·(log Σₙ exp outputsₙ − outputs_target) / Σ w        Σ w·(output − target)² / Σ w

    Args:
        outputs: [...,N] logits of the task's classes, or [...,1] numbers.
        targets: [...], as the task samples them.
        weights: [...].
    Returns: [], in at least float32.
    Raises: ValueError when outputs or weights do not fit the targets.
    """
    wanted = (*targets.shape, task.outputs)
    require(outputs.shape == wanted, "outputs.shape", outputs.shape, f"{wanted}, the targets' and the task's outputs")
    outputs = outputs.astype(accumulation_dtype(outputs))
    if task.metric == "accuracy":
        chosen = jnp.take_along_axis(outputs, targets[..., None], axis=-1)[..., 0]
        return _weighted_mean(jax.nn.logsumexp(outputs, axis=-1) - chosen, weights)
    return _weighted_mean(jnp.square(outputs[..., 0] - targets.astype(outputs.dtype)), weights)


def score(task: Task, predictions: Array, targets: Array, weights: Array) -> Array:
    """The task's metric: the weighted accuracy of predicted classes, or the mean squared error of predicted numbers.

    Args:
        predictions: [...], classes or numbers.
        targets: [...].
        weights: [...].
    Returns: [], in at least float32; 0 where nothing is asked.
    Raises: ValueError when predictions, targets and weights differ in shape.
    """
    shape = targets.shape
    require(predictions.shape == shape, "predictions.shape", predictions.shape, f"{shape}, the shape of the targets")
    return _weighted_mean(points(task, predictions, targets), weights)


def points(task: Task, predictions: Array, targets: Array) -> Array:
    """What each prediction [...] scores: 1 or 0 for a class that is right or wrong, or its squared error."""
    if task.metric == "accuracy":
        return (predictions == targets).astype(jnp.float32)
    predictions = predictions.astype(accumulation_dtype(predictions))
    return jnp.square(predictions - targets.astype(predictions.dtype))


def is_solved(task: Task, score: float) -> bool:
    """Whether a score counts as solved: at least `solved_at`, or at most where lower is better; never for NaN."""
    return bool(score >= task.solved_at if task.higher_is_better else score <= task.solved_at)


def shortcut_scores(task: Task, examples: Example, seed: int) -> dict[str, float]:
    """What the task's shortcuts score on examples [N,…]: a model that knows no more than these has learned nothing."""
    answered = _answer_by_shortcuts(task, examples, stream_key(seed, "shortcuts"))
    return {name: float(answered[name][1]) for name in task.shortcuts}


def shortcut_points(task: Task, examples: Example, seed: int) -> dict[str, Array]:
    """What each answer of the task's shortcuts to examples [N,…] scores, like the targets; its mean is their score."""
    answered = _answer_by_shortcuts(task, examples, stream_key(seed, "shortcuts"))
    return {name: answered[name][0] for name in task.shortcuts}


def identity_hash(task: Task, examples: Example) -> str:
    """16 hexadecimal digits that tell one evaluation set from another, the same in every run and process."""
    digest = hashlib.sha256(f"{task.name} {task.version}".encode())
    for name, leaf in examples._asdict().items():
        array = np.asarray(leaf)
        array = array.astype(array.dtype.newbyteorder("<"))
        digest.update(f" {name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


@partial(jax.jit, static_argnames="task")
def _answer_by_shortcuts(task: Task, examples: Example, rng: Array) -> dict[str, tuple[Array, Array]]:
    """What each answer of each shortcut scores, and their weighted mean."""
    keys = jax.random.split(rng, examples.inputs.shape[0])
    answers = {name: jax.vmap(shortcut)(keys, examples.inputs) for name, shortcut in task.shortcuts.items()}
    return {
        name: (points(task, found, examples.targets), score(task, found, examples.targets, examples.weights))
        for name, found in answers.items()
    }


def _weighted_mean(values: Array, weights: Array) -> Array:
    require(weights.shape == values.shape, "weights.shape", weights.shape, f"{values.shape}, the shape of the targets")
    weights = weights.astype(values.dtype)
    total = weights.sum()
    return (values * weights).sum() / jnp.where(total > 0, total, 1)
