"""Tasks that read files or make much data: what the tests that meet every task hand them."""

import json
from pathlib import Path
from typing import Any

# Knobs that make little data.
SMALL: dict[str, dict[str, Any]] = {
    "listops": {"shortest": 5, "longest": 20, "depth": 3, "arguments": 3, "training": 64, "held_out": 16},
    "pathfinder": {"images": 64, "held_out": 16, "size": 20, "contour": 6, "distractors": 2, "distractor_length": 2},
}
LISTOPS_LINES = [
    "( ( ( [MAX 2 ) 9 ) ] )\t9",
    "( ( ( [SM 8 ) ( ( ( [MIN 5 ) 7 ) ] ) ) ] )\t3",
    "( ( ( [MED 1 ) 4 ) ] )\t2",
]


def write_listops_files(folder: Path) -> Path:
    """Three files as Long Range Arena has them, with the same three formulas in another order."""
    for turn, name in enumerate(("basic_train.tsv", "basic_val.tsv", "basic_test.tsv")):
        lines = ["Source\tTarget", *LISTOPS_LINES[turn:], *LISTOPS_LINES[:turn]]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_text(folder: Path) -> Path:
    """2,000 bytes in which `ab` comes twice as often as `ac`, and once each a byte above 127 and an end of a line."""
    path = folder / "book.txt"
    path.write_bytes(("ababac" * 333 + "é").encode() + b"\n" * (2000 - 6 * 333 - 2))
    return path


def write_documents(path: Path, count: int = 60) -> Path:
    """Documents number by number: the even ones are `low` and hold an x, the odd ones `high` and hold a y."""
    rows = [{"text": f"{number} {'xy'[number % 2]}", "label": ("low", "high")[number % 2]} for number in range(count)]
    if path.suffix == ".jsonl":
        lines = [json.dumps(row) for row in rows]
    else:
        lines = ["text,label", *(f'"{row["text"]}",{row["label"]}' for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def knobs_of(name: str, folder: Path) -> dict[str, Any]:
    """Knobs with which a task of the catalogue reads a file of the tests or makes little; none for the others."""
    if name == "listops_files":
        return {"folder": str(write_listops_files(folder)), "longest": 16}
    if name == "text":
        return {"file": str(write_text(folder)), "length": 16, "held_out": 4}
    if name == "text_classification":
        return {"file": str(write_documents(folder / "documents.jsonl")), "length": 16}
    return SMALL.get(name, {})
