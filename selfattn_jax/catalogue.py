"""The catalogue: every variant that a config, the CLI, the docs and the exams know. The only list.

Adding a variant is one pure function, one small module if it learns, and one line here. Its name is the function's own
name, its config is the module's (or the function's) keyword-only parameters, and the exams pick it up by themselves.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal

import jax

from selfattn_jax import heads, modules, tasks
from selfattn_jax.attention import attention
from selfattn_jax.functional import (
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
    synthesizers,
)
from selfattn_jax.functional.bind import Bound, signature_of
from selfattn_jax.modules import pieces, positions

Kind = Literal["scores", "modifiers", "normalizers", "positions", "masks", "heads", "mixers", "tasks"]
ActsOn = Literal["inputs", "ids", "query_key", "score", "bias", "rowwise", "value"]
Transformation = Literal["rotation", "scaling"]
KINDS: tuple[Kind, ...] = ("scores", "modifiers", "normalizers", "positions", "masks", "heads", "mixers", "tasks")
SIZES = ("heads", "groups", "width", "key_width", "value_width", "length", "reach", "causal")

# Where in a config an entry goes: by what it acts on if that is said, else by its kind.
SLOTS = {
    "scores": "score",
    "modifiers": "modifiers",
    "normalizers": "normalizer",
    "masks": "mask",
    "heads": "heads",
    "mixers": "mixer",
    "tasks": "task",
    "inputs": "positions",
    "ids": "position_ids",
    "query_key": "encode",
    "score": "score",
    "bias": "biases",
    "rowwise": "rowwise",
    "value": "aggregate",
}
COMPOSED = ("encode", "score", "modifiers", "biases", "rowwise", "mask", "normalizer", "aggregate")


@dataclass(frozen=True, eq=False)
class Entry:
    """A variant: what it is called, what makes it, what it can do and where it comes from.

    Attributes:
      kind: the slot or role.
      function: the pure function (of one head and one sequence where it acts on heads).
      module: the NNX module around it, if it learns or depends on a size of the model.
      paper: its source.
      cost: time per head and sequence, in the letters of `shapes`.
      acts_on: what it changes, where its kind does not say it: what an entry of kind positions changes.
      causal: whether it can be made causal.
      both_ways: whether it can see what comes later; what cannot is causal by nature.
      mask: which masks a mixer honours: none, key (padding) or arbitrary.
      square: whether a mixer's queries and keys must be of one sequence.
      elementwise: whether a mixer multiplies query, key and value number by number, so that K must be V.
      positional: whether the order of the keys matters to it.
      smooth: whether its gradients are continuous.
      learns: whether its module has parameters.
      keeps: what a score does not notice when it happens to queries and keys together: rotation (both turned alike),
        scaling (what one is multiplied by, the other is divided by).
      requires: what the score must keep for an entry that acts on queries and keys to say what it means.
      needs_weights: whether a head structure needs a mixer that has attention weights.
      surrogate: the function whose derivative it has, where that is not its own.
      layer: the module of a head structure; None = `modules.SelfAttention`.
      weights: a mixer's effective attention matrix.
      steps: what a recurrence is by definition, one position after another: (output, final state).
      chunks: the same in its fast form, with the final state.
      memory: of a mixer, what it holds beside its inputs per head and sequence, in the same letters.
      carries: the size of the state that a mixer needs to go on with the next position, in the same letters.
      learned: how many numbers a mixer's module learns for all heads of a layer, in the same letters, G and H.
      projects: whether a mixer of vectors is placed between projections, having no matrix of its own.
      example: values for the knobs without a default, for the exams and the docs.
    """

    kind: Kind
    function: Callable
    module: Callable | None = None
    paper: str = ""
    cost: str = "T·S"
    acts_on: ActsOn | None = None
    causal: bool = True
    both_ways: bool = True
    mask: Literal["none", "key", "arbitrary"] = "arbitrary"
    square: bool = False
    elementwise: bool = False
    positional: bool = False
    smooth: bool = True
    learns: bool = False
    keeps: tuple[Transformation, ...] = ()
    requires: Transformation | None = None
    needs_weights: bool = False
    surrogate: Callable | None = None
    layer: Callable | None = None
    weights: Callable | None = None
    steps: Callable | None = None
    chunks: Callable | None = None
    memory: str = ""
    carries: str = ""
    learned: str = ""
    projects: bool = False
    example: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def name(self) -> str:
        """The function's own name: in Python, in a config, in the docs."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def slot(self) -> str:
        """The key of a config that holds it."""
        return SLOTS[self.acts_on or self.kind]

    @property
    def place(self) -> str:
        """The path of that key."""
        return self.slot if self.slot == "task" else f"model.{'mixer.' if self.slot in COMPOSED else ''}{self.slot}"

    @property
    def stochastic(self) -> bool:
        """Whether it draws random numbers (beside dropout, which every composition may have)."""
        return bool({"uniform", "rng"} & set(signature_of(self.function).needs))

    @property
    def takes(self) -> Literal["heads", "vectors"]:
        """What a mixer is a function of: query, key and value of a head, or the vectors [T,D] of a sequence."""
        return "vectors" if next(iter(inspect.signature(self.function).parameters)) == "inputs" else "heads"

    @property
    def state(self) -> bool:
        """Whether it can hand its state on to the next part of a sequence."""
        return self.steps is not None

    @property
    def maker(self) -> Callable:
        """What a config makes: the module if there is one, else the function."""
        return self.module or self.function

    def parameters(self) -> list[inspect.Parameter]:
        """The maker's parameters: positional ones are sizes of the model, by name; keyword-only ones are knobs."""
        maker = self.maker
        function = maker.function if isinstance(maker, Bound) else maker.__init__ if inspect.isclass(maker) else maker
        return [parameter for parameter in inspect.signature(function).parameters.values() if parameter.name != "self"]

    def knobs(self) -> dict[str, inspect.Parameter]:
        """The parameters that a config may set, by name: keyword-only, and not given by the model or the data."""
        given = ("rngs", "causal", "key_mask")
        return {p.name: p for p in self.parameters() if p.kind is p.KEYWORD_ONLY and p.name not in given}

    @property
    def in_config(self) -> bool:
        """Whether a config can name it; a piece that is made of data (padding, segments, array) is for code alone."""
        return not any(_is_data(p.annotation) for p in self.knobs().values())

    def described(self) -> dict[str, Any]:
        """What can be said about it as plain data: for `selfattn list` and the docs."""
        said = ("kind", "name", "summary", "paper", "cost", "memory", "carries", "slot", "acts_on", "in_config")
        able = ("causal", "both_ways", "mask", "square", "elementwise", "positional", "smooth", "stochastic", "learns")
        able += ("keeps", "requires", "needs_weights", *(("takes", "state") if self.kind == "mixers" else ()))
        knobs = {name: _shown(parameter.default) for name, parameter in self.knobs().items()}
        described = {name: getattr(self, name) for name in (*said, *able)}
        return described | {"keeps": list(self.keeps), "knobs": knobs if self.in_config else {}}

    @property
    def capabilities(self) -> str:
        """What sets it apart from its kind, in a few words; empty for what is as plain as can be."""
        words = {
            "learns": self.learns,
            "stochastic": self.stochastic,
            "order matters": self.positional and self.kind not in ("positions", "masks"),
            "not smooth": not self.smooth,
            "straight-through": self.surrogate is not None,
            f"keeps {' and '.join(self.keeps)}": bool(self.keeps),
            f"needs a score that keeps {self.requires}": self.requires is not None,
            "needs attention weights": self.needs_weights,
            "not causal": not self.causal,
            "causal by nature": not self.both_ways,
            "T = S": self.square,
            "K = V": self.elementwise,
            "mixes vectors": self.kind == "mixers" and self.takes == "vectors",
            "carries a state on": self.state,
            f"{self.mask} masks only": self.mask != "arbitrary",
            "Python only": not self.in_config,
        }
        return ", ".join(word for word, holds in words.items() if holds)


def _is_data(annotation: Any) -> bool:
    """Whether a knob is for code alone: an array that nothing else may stand for, or a function."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return all(_is_data(part) or part is types.NoneType for part in typing.get_args(annotation))
    return annotation is jax.Array or annotation is Callable or typing.get_origin(annotation) is Callable


def _shown(default: Any) -> Any:
    """A knob's default as plain data; None for a knob without one."""
    if default is inspect.Parameter.empty:
        return None
    return getattr(default, "__name__", default)


def _score(function: Callable, module: Callable | None = None, paper: str = "", **declared: Any) -> Entry:
    return Entry("scores", function, module, paper, **{"cost": "T·S·K", **declared})


def _synthesizer(function: Callable, module: Callable, cost: str) -> Entry:
    example = MappingProxyType({"maximum": 32})
    return _score(function, module, "arXiv:2005.00743", cost=cost, learns=True, positional=True, example=example)


def _normalizer(function: Callable, module: Callable | None = None, paper: str = "", **declared: Any) -> Entry:
    return Entry("normalizers", function, module, paper, **declared)


def _inputs(function: Callable, module: Callable, paper: str, **declared: Any) -> Entry:
    return Entry("positions", function, module, paper, "T·D", "inputs", positional=True, **declared)


def _rotary(function: Callable, module: Callable | None, paper: str, **declared: Any) -> Entry:
    declared = {"requires": "rotation", **declared}
    return Entry("positions", function, module, paper, "(T+S)·K", "query_key", positional=True, **declared)


def _relative(function: Callable, module: Callable, paper: str, cost: str, **declared: Any) -> Entry:
    return Entry("positions", function, module, paper, cost, positional=True, learns=True, **declared)


def _bias(function: Callable, module: Callable, paper: str, **declared: Any) -> Entry:
    return Entry("positions", function, module, paper, acts_on="bias", positional=True, **declared)


def _mask(function: Callable, paper: str = "", module: Callable | None = None, **example: Any) -> Entry:
    return Entry("masks", function, module, paper, positional=True, example=MappingProxyType(example))


def _heads(function: Callable, paper: str, layer: Callable | None = None, **declared: Any) -> Entry:
    return Entry("heads", function, paper=paper, cost="T·D·H·K", layer=layer, **declared)


def _kernel(function: Callable, module: Callable | None, paper: str, cost: str, **declared: Any) -> Entry:
    return Entry("mixers", function, module, paper, cost, **{"mask": "key", "memory": "(T+S)·(K+V)", **declared})


def _low_rank(function: Callable, module: Callable | None, paper: str, cost: str, **declared: Any) -> Entry:
    declared = {"mask": "key", "memory": "(T+S)·(K+V+M)", "causal": False, **declared}
    return Entry("mixers", function, module, paper, cost, **declared)


def _vectors(function: Callable, module: Callable | None, paper: str, cost: str, **declared: Any) -> Entry:
    declared = {"mask": "key", "memory": "T·D", "positional": True, "learns": module is not None, **declared}
    return Entry("mixers", function, module, paper, cost, **declared)


def _recurrence(function: Callable, module: Callable, paper: str, cost: str, **declared: Any) -> Entry:
    name = function.__name__
    forms = {form: getattr(mixers, f"{name}_{form}") for form in ("steps", "chunks", "weights")}
    able = {"both_ways": False, "mask": "key", "square": True, "positional": True, "learns": True}
    return Entry("mixers", function, module, paper, cost, memory="T·(C+K+V)", carries="K·V", **able | forms | declared)


entries: tuple[Entry, ...] = (
    _score(scores.dot, paper="arXiv:1508.04025", keeps=("rotation", "scaling")),
    _score(scores.scaled_dot, paper="arXiv:1706.03762", keeps=("rotation", "scaling")),
    _score(scores.cosine, pieces.Cosine, "arXiv:2010.04245", learns=True, keeps=("rotation",)),
    _score(scores.additive, pieces.Additive, "arXiv:1409.0473", cost="T·S·F", learns=True),
    _score(scores.concat, pieces.Concat, "arXiv:1508.04025", cost="T·S·F", learns=True),
    _score(scores.bilinear, pieces.Bilinear, "arXiv:1508.04025", learns=True),
    _score(scores.squared_distance, paper="arXiv:2006.04710", keeps=("rotation",)),
    _score(scores.gaussian, pieces.Gaussian, "arXiv:2110.11945", learns=True, keeps=("rotation",)),
    _score(scores.zero, paper="arXiv:2005.00743", cost="T·S"),
    _synthesizer(synthesizers.synthesizer_dense, modules.synthesizers.SynthesizerDense, "T·F·(K+N)"),
    _synthesizer(synthesizers.synthesizer_random, modules.synthesizers.SynthesizerRandom, "T·S"),
    _synthesizer(synthesizers.synthesizer_factorised, modules.synthesizers.SynthesizerFactorised, "T·S·F"),
    Entry("modifiers", modifiers.softcap, paper="arXiv:2408.00118"),
    Entry("modifiers", modifiers.temperature, pieces.Temperature, paper="arXiv:1503.02531", learns=True),
    Entry("modifiers", modifiers.log_length, paper="arXiv:2202.12172"),
    Entry("modifiers", modifiers.score_mod, paper="arXiv:2412.05496", positional=True),
    Entry("modifiers", encode.qk_norm, pieces.QkNorm, "arXiv:2302.05442", "(T+S)·K", "query_key", learns=True),
    _normalizer(normalizers.softmax, paper="arXiv:1706.03762"),
    _normalizer(normalizers.softmax_one, paper="Miller 2023"),
    _normalizer(normalizers.sink, pieces.Sink, "arXiv:2309.17453", learns=True),
    _normalizer(normalizers.scalable_softmax, pieces.ScalableSoftmax, "arXiv:2501.19399", learns=True),
    _normalizer(normalizers.sparsemax, paper="arXiv:1602.02068", cost="T·S·log S", smooth=False),
    _normalizer(normalizers.entmax15, paper="arXiv:1905.05702", cost="T·S·log S", smooth=False),
    _normalizer(normalizers.entmax, pieces.Entmax, "arXiv:1909.00015", smooth=False, learns=True),
    _normalizer(normalizers.sigmoid, pieces.Sigmoid, "arXiv:2409.04431"),
    _normalizer(normalizers.relu, pieces.Relu, "arXiv:2309.08586", smooth=False),
    _normalizer(normalizers.squared_relu, pieces.SquaredRelu, "arXiv:2309.08586", smooth=False),
    _normalizer(normalizers.softpick, paper="arXiv:2504.20966", smooth=False),
    _normalizer(normalizers.top_k, paper="arXiv:1912.11637", cost="T·S·log S", smooth=False, example={"count": 3}),
    _normalizer(
        normalizers.hard, paper="arXiv:1308.3432", cost="T·S·log S", smooth=False, surrogate=normalizers.softmax
    ),
    _normalizer(normalizers.gumbel_softmax, paper="arXiv:1611.01144"),
    _normalizer(normalizers.identity, paper="arXiv:2102.11174"),
    _inputs(embeddings.sinusoidal, positions.Sinusoidal, "arXiv:1706.03762"),
    _inputs(embeddings.learned, positions.Learned, "arXiv:1705.03122", learns=True),
    _inputs(embeddings.sinusoidal_2d, positions.Sinusoidal2d, "arXiv:1908.11415", example={"columns": 3}),
    _inputs(embeddings.learned_2d, positions.Learned2d, "arXiv:2010.11929", learns=True, example={"columns": 3}),
    Entry(
        "positions",
        embeddings.randomised,
        positions.Randomised,
        "arXiv:2305.16843",
        "P·log P",
        "ids",
        positional=True,
        example={"maximum": 24},
    ),
    _rotary(encode.rope, None, "arXiv:2104.09864"),
    _rotary(encode.rope_linear, None, "arXiv:2306.15595"),
    _rotary(encode.rope_ntk, None, "arXiv:2309.00071"),
    _rotary(encode.rope_dynamic_ntk, positions.RopeDynamicNtk, "arXiv:2309.00071"),
    _rotary(encode.rope_yarn, positions.RopeYarn, "arXiv:2309.00071"),
    _rotary(encode.rope_llama3, positions.RopeLlama3, "arXiv:2407.21783"),
    _rotary(encode.xpos, None, "arXiv:2212.10554", requires="scaling"),
    _rotary(encode.axial_rope, None, "arXiv:2403.13298", example={"columns": 3}),
    _relative(relative.shaw, positions.Shaw, "arXiv:1803.02155", "T·(S+P)·K", acts_on="score"),
    _relative(relative.shaw_value, positions.ShawValue, "arXiv:1803.02155", "T·S·(P+V)", acts_on="value"),
    _relative(relative.transformer_xl, positions.TransformerXl, "arXiv:1901.02860", "T·S·(K+D)", acts_on="score"),
    _relative(relative.deberta, positions.Deberta, "arXiv:2006.03654", "T·S·K+(T+S)·P·K", acts_on="score"),
    _bias(biases.alibi, positions.Alibi, "arXiv:2108.12409"),
    _bias(biases.t5, positions.T5, "arXiv:1910.10683", learns=True),
    _bias(biases.kerple_log, positions.KerpleLog, "arXiv:2205.09921", learns=True),
    _bias(biases.kerple_power, positions.KerplePower, "arXiv:2205.09921", learns=True),
    _bias(biases.fire, positions.Fire, "arXiv:2310.04418", cost="T·S·F", smooth=False, learns=True),
    _bias(biases.forgetting, positions.Forgetting, "arXiv:2503.02130", learns=True),
    _relative(rowwise.cope, positions.Cope, "arXiv:2405.18719", "T·(S+P·K)", acts_on="rowwise", smooth=False),
    _mask(masks.causal, "arXiv:1706.03762"),
    _mask(masks.window, "arXiv:2004.05150", modules.masks.Window, left=2, right=1),
    _mask(masks.prefix, "arXiv:1910.10683", length=3),
    _mask(patterns.dilated, "arXiv:2004.05150", left=1, right=1, dilation=3),
    _mask(patterns.strided, "arXiv:1904.10509", stride=2),
    _mask(patterns.fixed, "arXiv:1904.10509", block=3),
    _mask(patterns.block_local, "arXiv:1802.05751", block=2),
    _mask(patterns.global_tokens, "arXiv:2004.05150", count=1),
    _mask(patterns.random_blocks, "arXiv:2007.14062", modules.masks.RandomBlocks, block=2, count=2, maximum=8),
    _mask(patterns.longformer, "arXiv:2004.05150", window=1),
    _mask(patterns.bigbird, "arXiv:2007.14062", modules.masks.Bigbird, block=1, maximum=8),
    _mask(patterns.neighbourhood_2d, "arXiv:2204.07143", rows=4, columns=4, radius=1),
    _mask(patterns.axial, "arXiv:1912.12180", columns=3),
    Entry("masks", masks.padding),
    Entry("masks", masks.segments, paper="arXiv:2107.02027"),
    Entry("masks", masks.tree, paper="arXiv:2305.09781", positional=True),
    Entry("masks", masks.array),
    _heads(heads.multi_head, "arXiv:1706.03762"),
    _heads(heads.grouped, "arXiv:2305.13245"),
    _heads(heads.multi_query, "arXiv:1911.02150"),
    _heads(heads.latent, "arXiv:2405.04434", modules.heads.Latent),
    _heads(heads.talking, "arXiv:2003.02436", modules.heads.Talking, needs_weights=True),
    _heads(heads.differential, "arXiv:2410.05258", modules.heads.Differential, needs_weights=True),
    _heads(heads.gated, "arXiv:2505.06708", modules.heads.Gated),
    _heads(heads.shared_query_key, "arXiv:2001.04451", modules.heads.SharedQueryKey),
    Entry(
        "mixers",
        attention,
        modules.Attention,
        paper="arXiv:1706.03762",
        cost="T·S·(K+V)",
        memory="(T+S)·(K+V)",
        carries="S·(K+V)",
    ),
    _kernel(mixers.linear, None, "arXiv:2006.16236", "(T+S)·K·V", carries="K·(V+1)", weights=mixers.linear_weights),
    _kernel(
        mixers.performer,
        modules.mixers.Performer,
        "arXiv:2009.14794",
        "(T+S)·M·(K+V)",
        memory="(T+S)·(K+V+M)",
        carries="M·(V+1)",
        weights=mixers.performer_weights,
    ),
    _kernel(
        mixers.cosformer,
        modules.mixers.Cosformer,
        "arXiv:2202.08791",
        "2·(T+S)·K·V",
        carries="2·K·(V+1)",
        positional=True,
        smooth=False,
        weights=mixers.cosformer_weights,
        example=MappingProxyType({"maximum": 140}),
    ),
    _kernel(
        mixers.random_feature,
        modules.mixers.RandomFeature,
        "arXiv:2103.02143",
        "(T+S)·M·(K+2·V)",
        memory="(T+S)·(K+V+M)",
        carries="2·M·(V+1)",
        smooth=False,
        learns=True,
        weights=mixers.random_feature_weights,
        learned="H·K",
    ),
    _kernel(
        mixers.taylor,
        None,
        "arXiv:2402.18668",
        "T·K·K·V",
        memory="(T+S)·(K+V)+768·K·K",  # features of a chunk of 256, K²/2 of each, six times
        carries="K·K·(V+1)",
        weights=mixers.taylor_weights,
    ),
    _kernel(
        mixers.hedgehog,
        modules.mixers.Hedgehog,
        "arXiv:2402.04347",
        "(T+S)·F·(K+2·V)",
        memory="(T+S)·(K+V+F)",
        carries="2·F·(V+1)",
        learns=True,
        weights=mixers.hedgehog_weights,
        learned="2·H·K·F",
    ),
    _low_rank(
        mixers.linformer,
        modules.mixers.Linformer,
        "arXiv:2006.04768",
        "(T+S)·M·(K+V)",
        positional=True,
        learns=True,
        weights=mixers.linformer_weights,
        example=MappingProxyType({"maximum": 140}),
        learned="2·H·N·M",
    ),
    _low_rank(
        mixers.nystrom,
        None,
        "arXiv:2102.03902",
        "2·T·M·(2·K+V)+24·M·M·M",
        square=True,
        smooth=False,
        positional=True,
        weights=mixers.nystrom_weights,
        example=MappingProxyType({"landmarks": 3}),
    ),
    _low_rank(
        mixers.luna,
        modules.mixers.Luna,
        "arXiv:2106.01540",
        "(T+2·S)·M·K+(T+S)·M·V",
        learns=True,
        weights=mixers.luna_weights,
        learned="H·M·K",
    ),
    _low_rank(
        mixers.latent_bottleneck,
        modules.mixers.LatentBottleneck,
        "arXiv:1810.00825",
        "(T+S)·M·(K+V)",
        learns=True,
        weights=mixers.latent_bottleneck_weights,
        learned="2·H·M·K",
    ),
    _low_rank(
        mixers.clustered,
        None,
        "arXiv:2007.04825",
        "2·I·T·M·K+T·M·(K+V)",
        square=True,
        smooth=False,
        weights=mixers.clustered_weights,
        example=MappingProxyType({"clusters": 3}),
    ),
    Entry(
        "mixers",
        mixers.reformer,
        modules.mixers.Reformer,
        "arXiv:2001.04451",
        "2·R·T·C·(K+V)+R·T·K·(G+H)",
        memory="R·T·(C+K+V)",
        mask="key",
        square=True,
        positional=True,
        smooth=False,
        weights=mixers.reformer_weights,
        example=MappingProxyType({"chunk": 2}),
    ),
    Entry(
        "mixers",
        mixers.sinkhorn,
        modules.mixers.Sinkhorn,
        "arXiv:2002.11296",
        "3·T·√T·(K+V)",
        memory="T·(3·√T+K+V)",
        causal=False,
        mask="key",
        square=True,
        positional=True,
        weights=mixers.sinkhorn_weights,
        example=MappingProxyType({"block": 3}),
    ),
    Entry(
        "mixers",
        mixers.aft_full,
        modules.mixers.AftFull,
        "arXiv:2105.14103",
        "T·S·(F+2·V)",
        memory="T·(S+32·V)",  # 32: arrays of queries that it holds beside one of pairs
        mask="key",
        elementwise=True,
        positional=True,
        learns=True,
        example=MappingProxyType({"maximum": 140}),
        learned="2·H·N·F",
    ),
    Entry(
        "mixers",
        mixers.aft_simple,
        None,
        "arXiv:2105.14103",
        "4·(T+S)·V",
        memory="(T+S)·V",
        carries="3·V",
        mask="key",
        elementwise=True,
    ),
    _recurrence(mixers.retention, modules.mixers.Retention, "arXiv:2307.08621", "T·C·(C+K+V)+2·T·K·V", learns=False),
    _recurrence(
        mixers.simple_gated, modules.mixers.SimpleGated, "arXiv:2405.21060", "T·C·(C+K+V)+2·T·K·V", learned="H·(D+1)"
    ),
    _recurrence(
        mixers.gated_linear,
        modules.mixers.GatedLinear,
        "arXiv:2312.06635",
        "T·C·(K+V)+2·T·K·V",
        learned="R·(D+H·K)+H·K",
    ),
    _recurrence(
        mixers.delta,
        modules.mixers.Delta,
        "arXiv:2406.06484",
        "T·C·(2·C+3·K+2·V)+3·T·K·V",
        learned="H·(D+W·K)+G·W·(K+V)",
    ),
    _recurrence(
        mixers.gated_delta,
        modules.mixers.GatedDelta,
        "arXiv:2412.06464",
        "T·C·(2·C+3·K+2·V)+3·T·K·V",
        learned="H·(2·D+2+W·K)+G·W·(K+V)",
    ),
    _recurrence(
        mixers.ssd, modules.mixers.Ssd, "arXiv:2405.21060", "T·C·(C+K+V)+2·T·K·V", learned="H·(D+3+W·K)+G·W·(K+V)"
    ),
    _recurrence(mixers.rwkv, modules.mixers.Rwkv, "arXiv:2404.05892", "T·C·(K+V)+2·T·K·V", learned="R·(D+H·K)+2·H·K"),
    Entry(
        "mixers",
        mixers.long_convolution,
        modules.mixers.LongConvolution,
        "arXiv:2302.10866",
        "8·T·log T·V",
        memory="T·V",
        mask="key",
        both_ways=False,
        square=True,
        elementwise=True,
        positional=True,
        learns=True,
        example=MappingProxyType({"maximum": 140}),
        learned="H·F·(9+F+V)+H·V",
    ),
    _vectors(
        mixers.lru,
        modules.mixers.Lru,
        "arXiv:2303.06349",
        "4·T·D·N",
        memory="T·(D+N)",
        carries="2·N",
        both_ways=False,
        steps=mixers.lru_steps,
        chunks=mixers.lru_chunks,
        learned="4·D·N+2·N+D",
    ),
    _vectors(
        mixers.s4d,
        modules.mixers.S4d,
        "arXiv:2206.11893",
        "T·D·(C+4·N)",
        carries="2·D·N",
        both_ways=False,
        projects=True,
        steps=mixers.s4d_steps,
        chunks=mixers.s4d_chunks,
        learned="4·D·N+2·D",
    ),
    _vectors(
        mixers.gru,
        modules.mixers.Gru,
        "arXiv:1406.1078",
        "6·T·D·D",
        carries="D",
        both_ways=False,
        steps=mixers.gru_steps,
        learned="6·D·(D+1)",
    ),
    _vectors(
        mixers.lstm,
        modules.mixers.Lstm,
        "Hochreiter & Schmidhuber 1997",
        "8·T·D·D",
        carries="2·D",
        both_ways=False,
        steps=mixers.lstm_steps,
        learned="8·D·(D+1)",
    ),
    _vectors(mixers.convolution, modules.mixers.Convolution, "arXiv:1803.01271", "T·W·D·D", learned="W·D·D"),
    _vectors(mixers.bag, None, "Iyyer et al. 2015", "T·D", memory="D", positional=False, projects=True),
    _vectors(mixers.none, None, "arXiv:2210.13452", "T·D", memory="", positional=False),
    _vectors(mixers.fourier, None, "arXiv:2105.03824", "T·D·(log T+log D)", mask="none", causal=False),
    _vectors(
        mixers.mlp_mixer,
        modules.mixers.MlpMixer,
        "arXiv:2105.01601",
        "2·T·F·D",
        mask="none",
        causal=False,
        learned="2·N·F+F+N",
    ),
    Entry("tasks", tasks.multi_query_recall, paper="arXiv:2312.04927", cost="T"),
    Entry("tasks", tasks.associative_recall, paper="arXiv:2212.14052", cost="T"),
    Entry("tasks", tasks.recall, paper="arXiv:2403.17844", cost="T"),
    Entry("tasks", tasks.noisy_recall, paper="arXiv:2403.17844", cost="T"),
    Entry("tasks", tasks.fuzzy_recall, paper="arXiv:2403.17844", cost="T"),
    Entry("tasks", tasks.needle, paper="arXiv:2404.06654", cost="T"),
    Entry("tasks", tasks.compression, paper="arXiv:2403.17844", cost="T"),
    Entry("tasks", tasks.memorization, paper="arXiv:2403.17844", cost="T"),
    Entry("tasks", tasks.induction, paper="arXiv:2209.11895", cost="T"),
    Entry("tasks", tasks.induction_extrapolation, paper="arXiv:2312.00752", cost="T"),
    Entry("tasks", tasks.k_hop, paper="arXiv:2402.09268", cost="T·log T"),
    Entry("tasks", tasks.adding, paper="Hochreiter & Schmidhuber 1997", cost="T"),
    Entry("tasks", tasks.copy, paper="arXiv:2111.00396", cost="T"),
    Entry("tasks", tasks.selective_copy, paper="arXiv:2312.00752", cost="T·log T"),
    Entry("tasks", tasks.reverse, paper="arXiv:2106.06981", cost="T"),
    Entry("tasks", tasks.odds_first, paper="arXiv:2207.02098", cost="T"),
    Entry("tasks", tasks.duplicate, paper="arXiv:2207.02098", cost="T"),
    Entry("tasks", tasks.missing_duplicate, paper="arXiv:2207.02098", cost="T"),
    Entry("tasks", tasks.sort, paper="arXiv:2106.06981", cost="T·log T"),
    Entry("tasks", tasks.bucket_sort, paper="arXiv:2207.02098", cost="T·log T"),
    Entry("tasks", tasks.histogram, paper="arXiv:2106.06981", cost="T"),
    Entry("tasks", tasks.most_frequent, paper="arXiv:2106.06981", cost="T·log T"),
    Entry("tasks", tasks.parity, paper="arXiv:2207.02098", cost="T"),
    Entry("tasks", tasks.cumulative_parity, paper="arXiv:2210.10749", cost="T"),
    Entry("tasks", tasks.majority, paper="arXiv:2106.16213", cost="T"),
    Entry("tasks", tasks.even_pairs, paper="arXiv:2207.02098", cost="T"),
    Entry("tasks", tasks.first, paper="arXiv:2202.12172", cost="T"),
    Entry("tasks", tasks.dyck, paper="arXiv:2105.11115", cost="T"),
    Entry("tasks", tasks.flip_flop, paper="arXiv:2306.00946", cost="T"),
    Entry("tasks", tasks.cycle_navigation, paper="arXiv:2207.02098", cost="T"),
    Entry("tasks", tasks.modular_arithmetic, paper="arXiv:2207.02098", cost="T"),
    Entry("tasks", tasks.stack_manipulation, paper="arXiv:2207.02098", cost="T"),
    Entry("tasks", tasks.binary_addition, paper="arXiv:2207.02098", cost="T"),
    Entry("tasks", tasks.listops, paper="arXiv:1804.06028", cost="T"),
    Entry("tasks", tasks.listops_files, paper="arXiv:2011.04006", cost="T", example={"folder": "lra/listops"}),
    Entry("tasks", tasks.pathfinder, paper="arXiv:1805.08315", cost="T"),
    Entry("tasks", tasks.digits, paper="Alpaydin & Kaynak 1998", cost="T"),
    Entry("tasks", tasks.text, paper="arXiv:1808.04444", cost="T", example={"file": "book.txt"}),
    Entry("tasks", tasks.text_classification, paper="arXiv:2011.04006", cost="T", example={"file": "reviews.jsonl"}),
)


def of_kind(kind: Kind) -> dict[str, Entry]:
    """The entries of a kind, by name.

    Args:
      kind: one of KINDS.
    Returns: name → entry, in the catalogue's order.
    """
    return {entry.name: entry for entry in entries if entry.kind == kind}


def in_slot(slot: str) -> dict[str, Entry]:
    """The entries that a key of a config can hold, by name.

    Args:
      slot: the key: one of the values of SLOTS.
    Returns: name → entry, in the catalogue's order.
    """
    return {entry.name: entry for entry in entries if entry.slot == slot}


def find(kind: Kind, name: str) -> Entry:
    """The entry of a kind with a name.

    Args:
      kind: one of KINDS.  name: of the variant.
    Returns: the entry.
    Raises: KeyError that says what is known and what was probably meant.
    """
    known = of_kind(kind)
    if name not in known:
        close = get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise KeyError(f"no {kind} called {name!r}{hint} known: {', '.join(known)}")
    return known[name]
