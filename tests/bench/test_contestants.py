"""Who takes part: names, mappings and labels, and a clear message for every mistake."""

from dataclasses import replace

import pytest

from selfattn_jax import catalogue
from selfattn_jax.bench import contestants as module
from selfattn_jax.bench import pytorch
from selfattn_jax.bench.contestants import check_contestants, choose_against, contestants
from selfattn_jax.bench.settings import BenchSettings
from selfattn_jax.config import ConfigError
from selfattn_jax.reports.formats import plain
from tests.bench.fake import settings


def mistake(*sources: str) -> str:
    with pytest.raises(ConfigError) as raised:
        check_contestants(contestants(sources), settings())
    return str(raised.value)


def test_forms_references_mixers_and_mappings_have_labels():
    sources = ["rows", "jax.nn", "linear", "{normalizer: sink}", "b = {implementation: blockwise, biases: [alibi]}"]
    found = contestants(sources)
    assert [one.label for one in found] == ["rows", "jax.nn", "linear", "{normalizer: sink}", "b"]
    assert [one.source for one in found] == sources
    mixers = [one.mixer for one in found]
    assert (mixers[0].implementation, mixers[1], mixers[2].name) == ("rows", None, "linear")
    assert (mixers[3].normalizer.name, mixers[4].biases[0].name) == ("sink", "alibi")


def test_a_name_may_have_a_label_too():
    assert [one.label for one in contestants(["theirs=jax.nn", "dense"])] == ["theirs", "dense"]


@pytest.mark.parametrize("installed", [False, True])
def test_the_usual_ones_have_torch_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, installed: bool):
    monkeypatch.setattr(pytorch, "installed", lambda: installed)
    monkeypatch.setattr(pytorch, "absent", lambda: None)
    labels = [one.label for one in contestants([])]
    assert labels == ["auto", "dense", "blockwise", "jax.nn", "flax", *(["torch"] if installed else [])]


MIXERS = ", ".join(catalogue.in_slot("mixer"))
MISTAKES = {
    "blokwise": "command line: blokwise  VARIANT  unknown name 'blokwise'; known are auto, dense, rows, blockwise, "
    f"jax.nn, flax, torch, flex, {MIXERS}  did you mean blockwise?",
    "alibi": f"command line: alibi  model.mixer  unknown name 'alibi'; known are {MIXERS}; alibi is a position "
    "encoding: it goes to model.mixer.biases",
    "x={biases: [alibbi]}": "command line: x={biases: [alibbi]}  model.mixer.biases.0  unknown name 'alibbi'",
    "{scor: cosine}": "command line: {scor: cosine}  model.mixer.scor  unknown key  did you mean score?",
    "{biases: [alibi}": "command line: {biases: [alibi}  model.mixer  not YAML: ",
    "=dense": "command line: =dense  VARIANT  a label needs a word before its =",
    "x=": "command line: x=  VARIANT  is empty; it may be one of auto, dense",
    "{score: gaussian, encode: [xpos]}": "command line: {score: gaussian, encode: [xpos]}  model.mixer  xpos needs a ",
    "{mask: {name: window, left: [1]}}": "command line: {mask: {name: window, left: [1]}}  model.mixer  left ",
    "{encode: [{name: rope, rotated: 3}]}": "command line: {encode: [{name: rope, rotated: 3}]}  model.mixer  rope",
}


@pytest.mark.parametrize(("source", "message"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_gets_one_message_with_its_place(source: str, message: str):
    assert mistake(source).startswith(message)


def test_all_mistakes_are_told_at_once():
    assert len(mistake("blokwise", "dense", "{scor: cosine}").splitlines()) == 2
    assert "the label 'dense' comes twice" in mistake("dense", "rows", "dense=jax.nn")


def test_what_works_at_one_length_is_no_mistake():
    def check(changed: BenchSettings, length: int) -> None:
        if length != 32:
            raise ValueError(f"an image has 32 pixels, got {length}")

    image = replace(contestants(["dense"])[0], check=check)
    check_contestants([image], settings("16,32"))
    with pytest.raises(ConfigError, match=r"command line: dense  model.mixer  an image has 32 pixels, got 16"):
        check_contestants([image], settings("16,64"))


def test_what_a_form_cannot_compute_is_a_result_and_no_mistake():
    check_contestants(contestants(["{implementation: blockwise, normalizer: sparsemax}"]), settings())


def test_who_cannot_take_part_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pytorch, "find_spec", lambda name: None)
    torch, dense = contestants(["torch", "dense"])
    assert torch.absent == "PyTorch is not installed: pip install torch" and dense.absent is None
    check_contestants([torch, dense], settings())
    with pytest.raises(ConfigError, match="command line: torch  VARIANT  PyTorch is not installed"):
        check_contestants([torch], settings())


def test_what_ratios_refer_to():
    assert choose_against(["dense", "jax.nn", "torch"], None) == "torch"
    assert choose_against(["dense", "jax.nn"], None) == "jax.nn"
    assert choose_against(["rows", "dense"], None) == "rows"
    assert choose_against(["rows", "dense"], "dense") == "dense"
    with pytest.raises(ConfigError, match=r"--against dens  no variant .* there are rows, dense  did you mean"):
        choose_against(["rows", "dense"], "dens")


SLOTS = ("biases", "score", "normalizer", "modifiers", "rowwise", "encode")


@pytest.mark.parametrize("slot", [SLOTS[0], *(pytest.param(slot, marks=pytest.mark.slow) for slot in SLOTS[1:])])
def test_every_piece_of_the_catalogue_can_be_benched(slot: str):
    """By shapes: that they compute what they should, the exams check."""
    entries = [entry for entry in catalogue.in_slot(slot).values() if entry.in_config and not entry.example]
    several = slot not in ("score", "normalizer")
    pieces = [{"score": "dot", slot: [entry.name] if several else entry.name} for entry in entries]
    check_contestants(contestants([plain(piece) for piece in pieces]), settings("16"))


@pytest.mark.parametrize("causal", [False, True], ids=["both_ways", "causal"])
def test_every_form_and_mixer_can_be_benched(causal: bool):
    able = [name for name, one in catalogue.in_slot("mixer").items() if (one.causal if causal else one.both_ways)]
    check_contestants(contestants([*module.FORMS, *able]), settings("16", causal=causal))
