"""A user's own text: what comes next, byte by byte, and which class a document has."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Lt

from selfattn_jax.shapes import Array, PositiveInt
from selfattn_jax.tasks.task import Example, Task, integers_below, make_example, require

BYTES = tuple(chr(byte) if 32 < byte < 127 else f"{byte:02x}" for byte in range(256))
WRITTEN = (".csv", ".jsonl")


def text(*, file: str, length: PositiveInt = 256, held_out: PositiveInt = 64) -> Task:
    """Which byte comes next in a text of your own?

        inputs    A  t  t  e  n  t  i  o  n  20  i
        targets   t  t  e  n  t  i  o  n  20  i  s

    The end of the file is for validation, what is left of its end for the test, `held_out` sequences one behind the
    other each; training draws sequences from anywhere before. Every position is asked. A score of 1 would count as
    solved, which no text allows.

    Shortcuts: `unigram` the commonest byte of the training part; `bigram` the commonest byte behind the last one.

    Args:
        file: any file; its bytes are the tokens.
        length: T, bytes of a sequence.
        held_out: sequences for validation, and as many for the test.
    Returns: the task; a class per position, causal.
    Raises: ValueError when there is no such file, or it is too short.
    References: Al-Rfou et al. 2018, text8 and enwik8 character by character (arXiv:1808.04444).
    """
    path = _existing(file)
    size, least = path.stat().st_size, (2 * held_out + 1) * (length + 1)
    require(size >= least, "file", file, f"of at least {least} bytes, for {2 * held_out + 1} sequences; it has {size}")
    load = cache(partial(_read_bytes, path))

    def split(turn: int) -> Example:
        end = size - turn * held_out * (length + 1)
        windows = load()[end - held_out * (length + 1) : end].reshape(held_out, length + 1)
        return jax.vmap(_next_bytes)(jnp.asarray(windows))

    def training() -> np.ndarray:
        return load()[: size - 2 * held_out * (length + 1)]

    return Task(
        name="text",
        version=1,
        length=length,
        vocabulary=256,
        outputs=256,
        per="position",
        solved_at=1.0,
        causal=True,
        sample=partial(_window, length=length),
        data=lambda: jnp.asarray(training()),
        fixed=lambda: {"validation": split(1), "test": split(0)},
        shortcuts={
            "unigram": lambda rng, inputs: jnp.full_like(inputs, np.bincount(training()).argmax()),
            "bigram": lambda rng, inputs: jnp.asarray(_commonest_next(training()))[inputs],
        },
        alphabet=BYTES,
    )


def text_classification(
    *,
    file: str,
    length: PositiveInt = 1024,
    text: str = "text",
    label: str = "label",
    held_out: Annotated[float, Gt(0), Lt(0.5)] = 0.1,
) -> Task:
    """Which class has a document, read byte by byte?

        {"text": "A fine film.", "label": "good"}       inputs   A  20  f  i  n  e  20  f  i  l  m  .  ·  ·
                                                        target   good

    Byte b is the token b + 1, and 0 is padding; documents are cut off behind `length` bytes. Which part a document
    belongs to depends on a hash of its text, so that equal ones are in one part, and a file that grows moves none.

    Shortcuts: `majority` the commonest class; `bytes` naive Bayes on how often each byte comes, wherever it stands.

    Args:
        file: JSON lines (.jsonl), or comma-separated values with a header (.csv).
        length: T.
        text, label: the names of the two fields.
        held_out: the share of the documents for validation, and as much for the test.
    Returns: the task; a class per sequence.
    Raises: ValueError when there is no such file, field, or document in one of the parts.
    References: Long Range Arena, whose Text reads reviews byte by byte (arXiv:2011.04006).
    """
    path = _existing(file)
    require(path.suffix in WRITTEN, "file", file, f"named {' or '.join(WRITTEN)}")
    documents = _read_documents(path, path.stat().st_mtime_ns, text, label)
    parts, data = _parts(documents, held_out), partial(_padded, documents, length)
    for name, part in parts.items():
        require(part.size > 0, "file", file, f"of documents enough for {name}; it has {len(documents.texts)} in all")
    train = parts["train"]
    arrays = cache(lambda name: _on_device(data(parts[name])))

    def examples(name: str) -> Example:
        return jax.vmap(_document)(arrays(name))

    return Task(
        name="text_classification",
        version=1,
        length=length,
        vocabulary=257,
        outputs=len(documents.classes),
        per="sequence",
        causal=False,
        sample=_drawn_document,
        data=lambda: arrays("train"),
        fixed=lambda: {name: examples(name) for name in ("validation", "test")},
        shortcuts={
            "majority": lambda rng, inputs: jnp.asarray(np.bincount(documents.labels[train]).argmax(), jnp.int32),
            "bytes": partial(_naive_bayes, fit=cache(lambda: _byte_rates(data(train), len(documents.classes)))),
        },
        padded=True,
        alphabet=("·", *BYTES),
        classes=documents.classes,
    )


class Documents(NamedTuple):
    """What a file holds: texts in UTF-8, the class of each [N], and what classes are called."""

    texts: list[bytes]
    labels: np.ndarray
    classes: tuple[str, ...]


def _existing(file: str) -> Path:
    path = Path(file).expanduser()
    require(path.is_file(), "file", file, "a file that is there")
    return path


def _read_bytes(path: Path) -> np.ndarray:
    return np.fromfile(path, np.uint8)


def _window(rng: Array, data: Array, /, *, length: int) -> Example:
    start = integers_below(jax.random.bits(rng, (), jnp.uint32), data.shape[0] - length)
    return _next_bytes(jax.lax.dynamic_slice_in_dim(data, start, length + 1))


def _next_bytes(window: Array) -> Example:
    """[T + 1] uint8: all but the last are seen, all but the first are asked."""
    tokens = window.astype(jnp.int32)
    return make_example(tokens[:-1], tokens[1:], jnp.ones(tokens.shape[0] - 1, bool))


def _commonest_next(read: np.ndarray) -> np.ndarray:
    pairs = np.bincount(256 * read[:-1].astype(np.int64) + read[1:], minlength=256 * 256)
    return pairs.reshape(256, 256).argmax(axis=1).astype(np.int32)


@cache
def _read_documents(path: Path, changed: int, text: str, label: str) -> Documents:
    """The documents of a file as it was at the time `changed`."""
    del changed
    written = path.read_text(encoding="utf-8")
    rows = _json_lines(path, written) if path.suffix == ".jsonl" else csv.DictReader(io.StringIO(written, newline=""))
    pairs = []
    for number, row in enumerate(rows, start=1):
        for name in (text, label):
            if row.get(name) is None:
                raise ValueError(f"{path}, document {number}: has no {name!r}; it has {', '.join(map(str, row))}")
        pairs.append((str(row[text]).encode(), str(row[label])))
    classes = tuple(sorted({name for _, name in pairs}))
    if len(classes) < 2:
        raise ValueError(f"{path}: has {len(classes)} classes in {label!r}, wanted are at least 2")
    number_of = {name: number for number, name in enumerate(classes)}
    return Documents([one for one, _ in pairs], np.array([number_of[name] for _, name in pairs], np.int32), classes)


def _json_lines(path: Path, written: str) -> list[Mapping[str, Any]]:
    rows = []
    for number, line in enumerate(written.split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: is no JSON: {error}") from error
            require(isinstance(row, dict), f"{path}, line {number}", row, "a JSON object")
            rows.append(row)
    return rows


def _parts(documents: Documents, held_out: float) -> dict[str, np.ndarray]:
    """Which documents train, validate and test: by 64 bits of a hash of each text, as a number below 1."""
    places = [int.from_bytes(hashlib.sha256(one).digest()[:8], "big") / 2**64 for one in documents.texts]
    part = np.minimum(np.asarray(places) / held_out, 2).astype(int)
    return {name: np.flatnonzero(part == number) for number, name in enumerate(("validation", "test", "train"))}


def _padded(documents: Documents, length: int, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """inputs [N,T], targets [N] of some documents."""
    inputs = np.zeros((chosen.size, length), np.uint16)
    for row, index in zip(inputs, chosen, strict=True):
        seen = np.frombuffer(documents.texts[index][:length], np.uint8)
        row[: seen.size] = seen.astype(np.uint16) + 1
    return {"inputs": inputs, "targets": documents.labels[chosen]}


def _on_device(arrays: Mapping[str, np.ndarray]) -> dict[str, Array]:
    return {name: jnp.asarray(array) for name, array in arrays.items()}


def _document(arrays: Mapping[str, Array]) -> Example:
    inputs = arrays["inputs"].astype(jnp.int32)
    return make_example(inputs, arrays["targets"], jnp.asarray(True), key_mask=inputs > 0)


def _drawn_document(rng: Array, data: Mapping[str, Array], /) -> Example:
    index = integers_below(jax.random.bits(rng, (), jnp.uint32), data["targets"].shape[0])
    return _document({name: array[index] for name, array in data.items()})


def _byte_rates(data: Mapping[str, np.ndarray], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """log p(class) [N] and log p(byte | class) [257,N], with one of each byte more than there are."""
    documents = np.bincount(data["targets"], minlength=classes)
    counts = np.stack(
        [np.bincount(data["inputs"][data["targets"] == one].ravel(), minlength=257) for one in range(classes)], axis=1
    )
    counts[0] = 0  # padding says nothing
    rates = np.log(counts + 1) - np.log((counts + 1)[1:].sum(axis=0))
    rates[0] = 0
    return np.log(np.maximum(documents, 1) / documents.sum()).astype(np.float32), rates.astype(np.float32)


def _naive_bayes(rng: Array, inputs: Array, /, *, fit: Callable[[], tuple[np.ndarray, np.ndarray]]) -> Array:
    del rng
    prior, rates = fit()
    return jnp.argmax(prior + jnp.asarray(rates)[inputs].sum(axis=0)).astype(jnp.int32)
