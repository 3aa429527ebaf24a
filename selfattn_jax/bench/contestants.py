"""Who takes part: forms, references, and whatever `model.mixer` of a config takes, each with a label."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_args

import jax
from flax import nnx

from selfattn_jax import catalogue
from selfattn_jax.bench import pytorch
from selfattn_jax.bench.programs import Compiled, Data, check_module, compile_module
from selfattn_jax.bench.settings import BenchSettings, Step
from selfattn_jax.build import make_mixer
from selfattn_jax.choosing import Implementation
from selfattn_jax.config import ConfigError, Document, Problem, validate
from selfattn_jax.config.errors import gathered, nearest, wrong
from selfattn_jax.config.parsing import Builder, Tree
from selfattn_jax.config.schema import ModelConfig
from selfattn_jax.shapes import Array

FORMS: tuple[str, ...] = get_args(Implementation)
REFERENCES = ("jax.nn", "flax", "torch", "flex")
USUAL = ("auto", "dense", "blockwise", "jax.nn", "flax")
AGAINST = ("torch", "jax.nn")  # what ratios refer to, unless said otherwise
LABELLED = re.compile(r"([^={}\[\]:]*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Contestant:
    """A variant that is timed.

    Attributes:
      label: what tables and plots call it.
      source: the argument of the command line that asks for it.
      compile: step, settings, data → the program.
      check: settings, length → None; raises what the variant raises, without computing. None = nothing to check.
      mixer: the config of a mixer, with its defaults; None for a reference.
      absent: why it cannot take part, or None if it can.
    """

    label: str
    source: str
    compile: Callable[[Step, BenchSettings, Data], Compiled]
    check: Callable[[BenchSettings, int], None] | None = None
    mixer: Any = None
    absent: str | None = None


class Reference(nnx.Module):
    """A function of query, key, value and is_causal, called as a mixer is."""

    def __init__(self, function: Callable[..., Array]):
        self.function = function

    def __call__(self, query: Array, key: Array, value: Array, *, causal: bool, **situation: Any) -> Array:
        del situation
        return self.function(query, key, value, is_causal=causal)


def contestants(sources: Sequence[str]) -> list[Contestant]:
    """The variants that the command line asks for.

    Args:
      sources: a form, a reference, or what `model.mixer` takes; each may have a `label=` before it. None at all means
        the usual ones.
    Returns: a contestant for each, in their order; those that cannot take part say why.
    Raises: ConfigError with every mistake at once.
    """
    usual = (*USUAL, "torch") if pytorch.installed() else USUAL
    found = gathered(_contestant, sources or usual)
    labels = [one.label for one in found]
    twice = [
        Problem(
            _place(one.source), "VARIANT", f"the label {one.label!r} comes twice: write another one before it, LABEL=…"
        )
        for index, one in enumerate(found)
        if one.label in labels[:index]
    ]
    if twice:
        raise ConfigError(twice)
    return found


def check_contestants(found: Sequence[Contestant], settings: BenchSettings) -> None:
    """Refuses variants that are wrong at every length, before anything is measured.

    Raises: ConfigError with the reason of each; or if nobody can take part.
    """
    problems = [problem for one in found if (problem := _problem(one, settings)) is not None]
    if all(one.absent for one in found):
        problems = [Problem(_place(one.source), "VARIANT", str(one.absent)) for one in found]
    if problems:
        raise ConfigError(problems)


def choose_against(labels: Sequence[str], wanted: str | None) -> str:
    """The label of the variant that ratios refer to.

    Args:
      labels: of those that take part, at least one.  wanted: by the command line.
    Returns: what is wanted, else the first of AGAINST that takes part, else the first of all.
    Raises: ConfigError when nobody is called what is wanted.
    """
    if wanted is None:
        return next((label for label in AGAINST if label in labels), labels[0])
    if wanted not in labels:
        message = f"no variant with the label {wanted!r} takes part; there are {', '.join(labels)}"
        raise wrong(f"command line: --against {wanted}", "", message, nearest(wanted, labels))
    return wanted


def _contestant(source: str) -> Contestant:
    labelled = LABELLED.fullmatch(source)
    label, text = (part.strip() for part in labelled.groups()) if labelled else ("", source.strip())
    if labelled and not label:
        raise wrong(_place(source), "VARIANT", "a label needs a word before its =")
    return replace(_unlabelled(text, source), label=label or " ".join(text.split()))


def _unlabelled(text: str, source: str) -> Contestant:
    if text == "jax.nn":
        return _module(source, Reference(jax.nn.dot_product_attention))
    if text == "flax":
        return _module(source, Reference(nnx.dot_product_attention))
    if text == "torch":
        return Contestant(text, source, pytorch.compile_scaled_dot_product, absent=pytorch.absent())
    if text == "flex":
        return Contestant(text, source, pytorch.compile_flex, absent=pytorch.absent())
    mixer = read_mixer(f"{{implementation: {text}}}" if text in FORMS else text, source)

    def make(settings: BenchSettings, length: int) -> nnx.Module:
        return make_mixer(mixer, model_sizes(settings, length), nnx.Rngs(0))

    return _made(source, make, mixer)


def _module(source: str, module: nnx.Module) -> Contestant:
    return _made(source, lambda settings, length: module, None)


def _made(source: str, make: Callable[[BenchSettings, int], nnx.Module], mixer: Any) -> Contestant:
    """A contestant whose module is made anew for every length: tables may depend on it."""

    def compile(step: Step, settings: BenchSettings, data: Data) -> Compiled:
        return compile_module(make(settings, data.query.shape[1]), step, settings.causal, data)

    def check(settings: BenchSettings, length: int) -> None:
        check_module(partial(make, settings, length), settings, length)

    return Contestant(source, source, compile, check, mixer)


def model_sizes(settings: BenchSettings, length: int) -> dict[str, Any]:
    """The sizes of a model with these heads, by the names in `catalogue.SIZES`."""
    heads, width = settings.heads, settings.width
    sizes = {"heads": heads, "groups": heads, "width": heads * width, "key_width": width, "value_width": width}
    return {**sizes, "length": length, "reach": length, "causal": settings.causal}


def read_mixer(text: str, source: str) -> Any:
    """The config of a mixer.

    Args:
      text: what `model.mixer` of a config would hold, as YAML.  source: the argument that said it, for messages.
    Returns: the config, checked.
    Raises: ConfigError as a config's mixer would get.
    """
    known = (*FORMS, *REFERENCES, *catalogue.in_slot("mixer"))
    if re.fullmatch(r"[\w.-]+", text) and text not in (*known, *(entry.name for entry in catalogue.entries)):
        message = f"unknown name {text!r}; known are {', '.join(known)}"
        raise wrong(_place(source), "VARIANT", message, nearest(text, known))
    tree = Builder(text, lambda line, column: _place(source), ("model", "mixer")).document()
    if tree is None:
        raise wrong(_place(source), "VARIANT", f"is empty; it may be one of {', '.join(known)}, or a mapping")
    try:
        return validate(Document(Tree({"mixer": tree}, _place(source))), ModelConfig).mixer
    except ConfigError as error:  # a model was checked: its keys stand below `model`
        raise ConfigError([replace(one, path=f"model.{one.path}") for one in error.problems]) from None


def _problem(one: Contestant, settings: BenchSettings) -> Problem | None:
    """Why a variant works at no length, or None if it may; what a form cannot compute is no mistake, but a result."""
    first: ValueError | None = None
    for length in settings.lengths if one.check else ():
        try:
            assert one.check is not None
            one.check(settings, length)
        except NotImplementedError:
            return None
        except ValueError as error:
            first = first or error
        else:
            return None
    return None if first is None else Problem(_place(one.source), "model.mixer", str(first))


def _place(source: str) -> str:
    return f"command line: {source}"
