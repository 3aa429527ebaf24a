"""The catalogue: every variant that a config, the CLI, the docs and the exams know. The only list.

Adding a variant is one pure function, one small module if it learns, and one line here. Its name is the function's own
name, its config is the module's (or the function's) keyword-only parameters, and the exams pick it up by themselves.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal

import jax

from selfattn_jax import heads, tasks
from selfattn_jax.attention import attention
from selfattn_jax.functional import (
    biases,
    embeddings,
    encode,
    masks,
    mixers,
    modifiers,
    normalizers,
    rowwise,
    scores,
)
from selfattn_jax.functional.bind import Bound
from selfattn_jax.modules import pieces
from selfattn_jax.modules.attention import Attention

Kind = Literal["scores", "modifiers", "normalizers", "positions", "masks", "heads", "mixers", "tasks"]
ActsOn = Literal["inputs", "query_key", "score", "bias", "rowwise", "value"]
KINDS: tuple[Kind, ...] = ("scores", "modifiers", "normalizers", "positions", "masks", "heads", "mixers", "tasks")
SIZES = ("heads", "groups", "width", "key_width", "value_width", "length", "causal")


@dataclass(frozen=True, eq=False)
class Entry:
    """A variant: what it is called, what makes it, what it can do and where it comes from.

    Attributes:
      kind: the slot or role.
      function: the pure function (of one head and one sequence where it acts on heads).
      module: the NNX module around it, if it learns or depends on a size of the model.
      paper: its source.
      cost: time per head and sequence, in the letters of `shapes`.
      acts_on: what an entry of kind positions changes.
      causal: whether it can be made causal.
      mask: which masks a mixer honours: none, key (padding) or arbitrary.
      positional: whether the order of the keys matters to it.
      smooth: whether its gradients are continuous.
      learns: whether its module has parameters.
      weights: a mixer's effective attention matrix.
      example: values for the knobs without a default, for the exams and the docs.
    """

    kind: Kind
    function: Callable
    module: Callable | None = None
    paper: str = ""
    cost: str = "T·S"
    acts_on: ActsOn | None = None
    causal: bool = True
    mask: Literal["none", "key", "arbitrary"] = "arbitrary"
    positional: bool = False
    smooth: bool = True
    learns: bool = False
    weights: Callable | None = None
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
        return not any(p.annotation is jax.Array for p in self.knobs().values())

    def described(self) -> dict[str, Any]:
        """What can be said about it as plain data: for `selfattn list` and the docs."""
        plain = {
            name: getattr(self, name) for name in ("kind", "name", "summary", "paper", "cost", "acts_on", "in_config")
        }
        able = {name: getattr(self, name) for name in ("causal", "mask", "positional", "smooth", "learns")}
        knobs = {name: _shown(parameter.default) for name, parameter in self.knobs().items()}
        return {**plain, **able, "knobs": knobs if self.in_config else {}}


def _shown(default: Any) -> Any:
    """A knob's default as plain data; None for a knob without one."""
    if default is inspect.Parameter.empty:
        return None
    return getattr(default, "__name__", default)


entries: tuple[Entry, ...] = (
    Entry("scores", scores.dot, paper="arXiv:1508.04025", cost="T·S·K"),
    Entry("scores", scores.scaled_dot, paper="arXiv:1706.03762", cost="T·S·K"),
    Entry("scores", scores.cosine, pieces.Cosine, paper="arXiv:2010.04245", cost="T·S·K", learns=True),
    Entry("scores", scores.additive, pieces.Additive, paper="arXiv:1409.0473", cost="T·S·F", learns=True),
    Entry("modifiers", modifiers.softcap, paper="arXiv:2408.00118"),
    Entry("modifiers", modifiers.temperature, pieces.Temperature, paper="arXiv:1503.02531", learns=True),
    Entry("modifiers", modifiers.log_length, paper="arXiv:2202.12172"),
    Entry("normalizers", normalizers.softmax, paper="arXiv:1706.03762"),
    Entry("normalizers", normalizers.softmax_one, paper="Miller 2023"),
    Entry("normalizers", normalizers.sink, pieces.Sink, paper="arXiv:2309.17453", learns=True),
    Entry("normalizers", normalizers.sigmoid, pieces.Sigmoid, paper="arXiv:2409.04431"),
    Entry("normalizers", normalizers.sparsemax, paper="arXiv:1602.02068", cost="T·S·log S", smooth=False),
    Entry("positions", embeddings.sinusoidal, pieces.Sinusoidal, "arXiv:1706.03762", "T·D", "inputs", positional=True),
    Entry(
        "positions",
        embeddings.learned,
        pieces.Learned,
        "arXiv:1705.03122",
        "T·D",
        "inputs",
        positional=True,
        learns=True,
    ),
    Entry("positions", encode.rope, None, "arXiv:2104.09864", "(T+S)·K", "query_key", positional=True),
    Entry("positions", biases.alibi, pieces.Alibi, "arXiv:2108.12409", "T·S", "bias", positional=True),
    Entry(
        "positions",
        rowwise.cope,
        pieces.Cope,
        "arXiv:2405.18719",
        "T·(S+P·K)",
        "rowwise",
        positional=True,
        smooth=False,
        learns=True,
    ),
    Entry("masks", masks.causal, paper="arXiv:1706.03762", positional=True),
    Entry("masks", masks.window, paper="arXiv:2004.05150", positional=True, example={"left": 2, "right": 1}),
    Entry("masks", masks.prefix, paper="arXiv:1910.10683", positional=True, example={"length": 3}),
    Entry("masks", masks.padding),
    Entry("masks", masks.segments, paper="arXiv:2107.02027"),
    Entry("masks", masks.array),
    Entry("heads", heads.multi_head, paper="arXiv:1706.03762"),
    Entry("heads", heads.grouped, paper="arXiv:2305.13245"),
    Entry("heads", heads.multi_query, paper="arXiv:1911.02150"),
    Entry("mixers", attention, Attention, paper="arXiv:1706.03762", cost="T·S·(K+V)"),
    Entry("mixers", mixers.linear, None, "arXiv:2006.16236", "(T+S)·K·V", mask="key", weights=mixers.linear_weights),
    Entry("tasks", tasks.multi_query_recall, paper="arXiv:2312.04927", cost="T"),
    Entry("tasks", tasks.induction, paper="arXiv:2209.11895", cost="T"),
    Entry("tasks", tasks.adding, paper="Hochreiter & Schmidhuber 1997", cost="T"),
    Entry("tasks", tasks.digits, paper="Alpaydin & Kaynak 1998", cost="T"),
)


def of_kind(kind: Kind) -> dict[str, Entry]:
    """The entries of a kind, by name.

    Args:
      kind: one of KINDS.
    Returns: name → entry, in the catalogue's order.
    """
    return {entry.name: entry for entry in entries if entry.kind == kind}


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
