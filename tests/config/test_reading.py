"""Reading: what YAML means, who wins in a merge, what an override does, and where every mistake stands."""

import os
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfattn_jax.config import ConfigError, Origin, from_mapping, read, subdocument, with_overrides
from selfattn_jax.config.errors import Problem, nearest, shown
from selfattn_jax.config.parsing import DEEPEST, LARGEST_FILE, MOST_VALUES
from selfattn_jax.config.reading import LONGEST_CHAIN

TOO_MANY = f"more than {MOST_VALUES} values, counting those of aliases"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name="config.yaml", text=""):
    with open(name, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return name


def data(text, *overrides):
    return read(write(text=text), overrides).data


def mistakes(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    return [(problem.where, problem.path, problem.message) for problem in caught.value.problems]


def mistake(function, *arguments):
    (only,) = mistakes(function, *arguments)
    return only


def test_yaml_1_2_scalars():
    text = """
        rate: 1e-3
        whole: 010
        grouped: 1_000
        hex: 0x1F
        octal: 0o17
        negative: -2.5E+1
        none: ~
        empty:
        truth: true
        "on": on
        off: no
        date: 2001-01-01
        forced: !!str 5
        infinite: -.inf
        folded: >-
          two
          lines
    """
    assert data(text) == {
        "rate": 0.001,
        "whole": 10,
        "grouped": 1000,
        "hex": 31,
        "octal": 15,
        "negative": -25.0,
        "none": None,
        "empty": None,
        "truth": True,
        "on": "on",
        "off": "no",
        "date": "2001-01-01",
        "forced": "5",
        "infinite": float("-inf"),
        "folded": "two lines",
    }


def test_data_is_plain_python():
    def kinds(value):
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return {type(value)}.union(*map(kinds, children))

    assert kinds(data("a: [1, 2.5, true, null, {b: 'x', c: \"y\"}]")) == {dict, list, int, float, bool, type(None), str}


def test_origins_are_the_places_of_keys_and_items():
    document = read(write(text="# header\nmodel:\n  biases: [alibi, {name: t5, buckets: 3}]\n"), ["seed=1"])
    assert document.origins[()] == Origin(os.path.abspath("config.yaml"), 2, 1)
    assert document.where(("model",)) == "config.yaml:2:1"
    assert document.where(("model", "biases", 0)) == "config.yaml:3:12"
    assert document.where(("model", "biases", 1, "buckets")) == "config.yaml:3:30"
    assert document.where(("model", "biases", 0, "slope")) == "config.yaml:3:12", "the nearest parent that exists"
    assert document.where(("nowhere",)) == "config.yaml:2:1"
    assert document.origins[("seed",)] == document.where(("seed",)) == "command line: seed=1"


def test_paths_are_shown_the_shorter_way(folder, monkeypatch):
    write(text="a: 1")
    deep = folder / "a" / "b" / "c" / "d" / "e" / "f" / "g" / "h" / "i" / "j" / "k" / "l" / "m" / "n" / "o" / "p" / "q"
    deep.mkdir(parents=True)
    for _ in range(8):
        deep = deep / "deeper-and-deeper"
    deep.mkdir(parents=True)
    document = read("config.yaml")
    monkeypatch.chdir(folder / "a")
    assert document.where(()) == os.path.join("..", "config.yaml") + ":1:1"
    monkeypatch.chdir(deep)
    expected = min(os.path.relpath(folder / "config.yaml"), str(folder / "config.yaml"), key=len)
    assert document.where(()) == f"{expected}:1:1"


def test_anchors_aliases_and_merge_keys():
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {y: 9, z: 4}]}\nd: *a\n'<<': 5\n"
    document = read(write(text=text))
    assert document.data["b"] == {"x": 1, "y": 3}
    assert document.data["c"] == {"x": 1, "y": 2, "z": 4}, "the earlier mapping wins"
    assert document.data["d"] == {"x": 1, "y": 2} and document.data["<<"] == 5
    assert document.where(("d",)) == "config.yaml:4:1" and document.where(("d", "x")) == "config.yaml:1:8"
    assert data("a: &a 1\nb: &a 2\nc: *a") == {"a": 1, "b": 2, "c": 2}, "an anchor may be set again"


@pytest.mark.parametrize(
    ("text", "where", "path", "message"),
    [
        ("", "1:1", "", "a config is a mapping, this file is empty"),
        ("# only this\n", "1:1", "", "a config is a mapping, this file is empty"),
        ("- a\n- b\n", "1:1", "", "a config is a mapping, this file holds a list"),
        ("\njust text\n", "2:1", "", "a config is a mapping, this file holds 'just text'"),
        ("a: 1\nb:\n\tc: 2\n", "3:1", "", "not YAML: a tab, where only spaces may stand"),
        (b"a: 1\nb: caf\xe9\n", "2:7", "", "not UTF-8 text"),
        (b"\xff\xfea\x00", "1:1", "", "not UTF-8 text"),
        ("a: 1\nb: \x07\n", "2:4", "", "not YAML: the character U+0007"),
        ('a: "\\U00110000"', "1:1", "", "not YAML: chr() arg not in range(0x110000)"),
        ('a: "\\ud800"', "1:4", "a", "half of a surrogate pair is not text"),
        ("a: [1, 2", "1:9", "", "not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "1:5", "", "not YAML: a second colon; put the text in quotes, or mind the indentation"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "", "not YAML: the indentation does not fit the lines above"),
        ("a: 'b", "1:6", "", "not YAML: found unexpected end of stream"),
        ("a: 1\nb:\n  c: 2\n  c: 3\n", "4:3", "b.c", "duplicate key, already given at config.yaml:3:3"),
        ("a: 1\n2: b\n", "2:1", "2", "a key must be text: put '2' in quotes"),
        ("? [1]\n: b\n", "1:3", "a list", "a key must be text: put 'a list' in quotes"),
        ("a: {b:1}\n", "1:5", "a.b:1", "a colon needs a space after it"),
        ("a: 1\n---\nb: 2\n", "2:1", "", "a second document starts here, a config is one document"),
        ("%YAML 1.1\n---\na: on\n", "2:1", "", "a config is YAML 1.2"),
        ("a: *b\n", "1:4", "", "*b has no anchor &b above it"),
        ("a: &a [*a]\n", "1:8", "", "*a stands inside its own anchor"),
        ("a: {<<: 3}\n", "1:5", "a.<<", "<< merges a mapping or a list of mappings"),
        ("a: !!int x\n", "1:4", "a", "'x' is not a number"),
        ("a: -_\n", "1:4", "a", "'-_' is not a number"),
        ("a: !!bool maybe\n", "1:4", "a", "'maybe' is not a bool"),
        (f"a: {'9' * 5000}\n", "1:4", "a", f"'{'9' * 56}…' is not a number"),
        ("a: " + "[" * 200_000, None, "", f"larger than {LARGEST_FILE} bytes, no config"),
        ("a: " + "[" * 100, "1:68", "", f"nested more than {DEEPEST} deep"),
        ("extends: 3\n", "1:1", "extends", "must name a file or a list of files, got 3"),
        ("extends: [a.yaml, {}]\n", "1:19", "extends.1", "must name a file or a list of files, got a mapping"),
        ("a: 1\nextends: missing.yaml\n", "2:1", "extends", "no such file: missing.yaml"),
        ("extends: .\n", "1:1", "extends", "a directory, not a file: ."),
        ('extends: "\\0"\n', "1:1", "extends", "must name a file or a list of files, got '\\x00'"),
    ],
)
def test_what_is_wrong_with_a_file(text, where, path, message):
    place = "config.yaml" if where is None else f"config.yaml:{where}"
    assert mistake(data, text) == (place, path, message)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!!binary", "!mine"])
@pytest.mark.parametrize("value", ["x", "[x]", "{x: 1}"])
def test_tags_are_refused(tag, value):
    message = f"the tag {tag} is not allowed: a config holds plain data only"
    assert mistake(data, f"a:\n  b: {tag} {value}\n") == ("config.yaml:2:6", "a.b", message)


def test_all_the_mistakes_of_a_file_at_once():
    found = mistakes(data, "a: 1\na: 2\n3: x\nb: !new y\n")
    assert [where for where, _, _ in found] == ["config.yaml:2:1", "config.yaml:3:1", "config.yaml:4:4"]


def test_alias_bombs_end_early():
    wide = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
    )
    assert mistake(data, wide)[::2] == ("config.yaml:4:45", TOO_MANY)
    deep = "a: &a0 x\n" + "".join(f"b{n}: &a{n} [[[*a{n - 1}]]]\n" for n in range(1, 40))
    assert mistake(data, deep)[::2] == ("config.yaml:23:14", "nested more than 64 deep")


def test_files_that_cannot_be_read(folder, monkeypatch):
    write("softmax.yaml", "a: 1")
    assert mistake(read, "softmx.yaml") == ("softmx.yaml", "", "no such file")
    with pytest.raises(ConfigError, match=r"did you mean softmax.yaml\?"):
        read("softmx.yaml")
    assert mistake(read, folder) == (".", "", "a directory, not a file")
    assert mistake(read, "no/where.yaml") == ("no/where.yaml", "", "no such file")

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert mistake(read, "softmax.yaml") == ("softmax.yaml", "", "cannot be read (Permission denied)")


def test_byte_order_mark_and_windows_lines():
    assert data(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}


def extended(base, own):
    write("base.yaml", base)
    return data("extends: base.yaml\n" + own)


@pytest.mark.parametrize(
    ("base", "own", "expected"),
    [
        ("a: {x: 1, y: 2}\nb: 1", "a: {y: 3}", {"a": {"x": 1, "y": 3}, "b": 1}),
        ("a: [1, 2, 3]", "a: [4]", {"a": [4]}),
        ("a: {x: 1}", "a: null", {"a": None}),
        ("a: null", "a: {x: 1}", {"a": {"x": 1}}),
        ("a: {name: p, x: 1}", "a: {name: q}", {"a": {"name": "q"}}),
        ("a: {name: p, x: 1}", "a: {name: p, y: 2}", {"a": {"name": "p", "x": 1, "y": 2}}),
        ("a: {name: p, x: 1}", "a: {x: 2}", {"a": {"name": "p", "x": 2}}),
        ("a: {name: p, x: 1}", "a: p", {"a": "p"}),
        ("a: p", "a: {x: 1}", {"a": {"name": "p", "x": 1}}),
        ("a: p", "a: {name: q}", {"a": {"name": "q"}}),
        ("a: {x: 1}", "a: {name: q}", {"a": {"x": 1, "name": "q"}}),
        ("a: {name: p, x: 1}", "a: {any: [q]}", {"a": {"any": ["q"]}}),
        ("a: {any: [p]}", "a: {name: q}", {"a": {"name": "q"}}),
        ("a: {any: [p]}", "a: {any: [q]}", {"a": {"any": ["q"]}}),
        ("name: p\na: 1", "name: q", {"name": "q", "a": 1}),
        ("a: 1", "", {"a": 1}),
    ],
)
def test_merging(base, own, expected):
    assert extended(base, own) == expected


def test_extends_several_relative_to_the_file_that_says_it(folder):
    (folder / "bases").mkdir()
    write("bases/root.yaml", "a: {x: 0, y: 0, z: 0}")
    write("bases/left.yaml", "extends: root.yaml\na: {x: 1}")
    write("bases/right.yaml", "extends: [root.yaml]\na: {y: 2}")
    write("config.yaml", "extends: [bases/left.yaml, bases/right.yaml]\na: {z: 3}")
    document = read("config.yaml")
    assert document.data == {"a": {"x": 0, "y": 2, "z": 3}}, "what a later file extends counts as its own"
    assert document.where(("a", "y")) == "bases/right.yaml:2:5"
    assert document.where(("a",)) == "config.yaml:2:1"
    assert data("extends: []\na: 1") == {"a": 1}


def test_circles_and_endless_chains(folder):
    write("a.yaml", "extends: b.yaml")
    write("b.yaml", "x: 1\nextends: [c.yaml]")
    write("c.yaml", "extends: ./a.yaml")
    message = "the files extend each other in a circle: a.yaml → b.yaml → c.yaml → a.yaml"
    assert mistake(read, "a.yaml") == ("c.yaml:1:1", "extends", message)
    assert mistake(data, "extends: config.yaml")[2].endswith("circle: config.yaml → config.yaml")
    for index in range(LONGEST_CHAIN + 1):
        write(f"{index}.yaml", f"extends: {index + 1}.yaml")
    assert mistake(read, "0.yaml") == ("31.yaml:1:1", "extends", "extends goes on for more than 32 files")


def test_a_file_that_is_extended_twice_is_read_once():
    for index in range(LONGEST_CHAIN - 2):
        write(f"{index}.yaml", f"extends: [{index + 1}.yaml, {index + 1}.yaml]\n")
    write(f"{LONGEST_CHAIN - 2}.yaml", "a: 1")
    assert read("0.yaml").data == {"a": 1}, "and not two to the thirtieth times"


def test_a_mistake_in_an_extended_file_stands_there():
    write("base.yaml", "a: 1\na: 2\n")
    assert mistake(data, "extends: base.yaml")[0] == "base.yaml:2:1"
    write("base.yaml", "")
    assert mistake(data, "extends: base.yaml") == ("base.yaml:1:1", "", "a config is a mapping, this file is empty")
    write("bases.yaml", "a: 1")
    with pytest.raises(ConfigError, match=r"config.yaml:1:1  extends  no such file: bse.yaml  did you mean base"):
        data("extends: bse.yaml")


BASE = "a: {b: 1, c: [x, {name: y, k: 1}]}\nm: {name: p, x: 1, s: q}\nt: text\nn: null\nr: {sweep: {a.b: [1]}}\n"


@pytest.mark.parametrize(
    ("overrides", "key", "expected"),
    [
        (["a.b=1e-3"], "a", {"b": 0.001, "c": ["x", {"name": "y", "k": 1}]}),
        (["a=[1,2]"], "a", [1, 2]),
        (["a=null"], "a", None),
        (["a=''"], "a", ""),
        (["t=a=b"], "t", "a=b"),
        (["a.c.1.k=2"], "a", {"b": 1, "c": ["x", {"name": "y", "k": 2}]}),
        (["a.c.1=z"], "a", {"b": 1, "c": ["x", "z"]}),
        (["a.c.0.k=2"], "a", {"b": 1, "c": [{"name": "x", "k": 2}, {"name": "y", "k": 1}]}),
        (["a.c.1.name=z"], "a", {"b": 1, "c": ["x", {"name": "z"}]}),
        (["a={b: 2}"], "a", {"b": 2, "c": ["x", {"name": "y", "k": 1}]}),
        (["m={x: 2}"], "m", {"name": "p", "x": 2, "s": "q"}),
        (["m={name: p}"], "m", {"name": "p"}),
        (["m.name=p"], "m", {"name": "p"}),
        (["m.any=[p]"], "m", {"any": ["p"]}),
        (["m.name=p", "m.x=5"], "m", {"name": "p", "x": 5}),
        (["m.s.k=2"], "m", {"name": "p", "x": 1, "s": {"name": "q", "k": 2}}),
        (["t.k.l=2"], "t", {"name": "text", "k": {"l": 2}}),
        (["t.name=other"], "t", {"name": "other"}),
        (["n.k=2"], "n", {"k": 2}),
        (["new.k=2"], "new", {"k": 2}),
        (["name=me"], "name", "me"),
        (["a.b=2", "a.b=3"], "a", {"b": 3, "c": ["x", {"name": "y", "k": 1}]}),
        (["r.sweep.a.b=[2]"], "r", {"sweep": {"a.b": [2]}}),
        (["r.sweep.a.b.0=2"], "r", {"sweep": {"a.b": [2]}}),
        (["r.sweep.c.d=[2]"], "r", {"sweep": {"a.b": [1], "c.d": [2]}}),
    ],
)
def test_overrides(overrides, key, expected):
    before = data(BASE)
    after = data(BASE, *overrides)
    assert after[key] == expected
    assert {**after, key: None} == {**before, key: None}, "all else stays"


@pytest.mark.parametrize(
    ("override", "path", "message"),
    [
        ("foo", "foo", "an override is key.path=value"),
        ("=3", "", "an override is key.path=value"),
        ("", "", "an override is key.path=value"),
        ("a..b=1", "a..b", "a key needs a word before, between and after its dots"),
        (".a=1", ".a", "a key needs a word before, between and after its dots"),
        ("a.b=", "a.b", "no value; say a.b=null for nothing and a.b='' for empty text"),
        ("a.b=[1", "a.b", "not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a.b={x:1}", "a.b.x:1", "a colon needs a space after it"),
        ("a.b=!!python/name:sys x", "a.b", "the tag !!python/name:sys is not allowed: a config holds plain data only"),
        ("a.b={x: 1, x: 2}", "a.b.x", "duplicate key, already given at command line: a.b={x: 1, x: 2}"),
        ("a.b=" + "[" * 90, "a.b", "nested more than 64 deep"),
        ("a.c.2=1", "a.c.2", "a.c is a list without '2': its items are a.c.0 … 1"),
        ("a.c.-1=1", "a.c.-1", "a.c is a list without '-1': its items are a.c.0 … 1"),
        ("a.c.name=z", "a.c.name", "a.c is a list without 'name': its items are a.c.0 … 1"),
        ("e.0=z", "e.0", "e is a list without '0': it is empty"),
        ("a.b.k=1", "a.b.k", "a.b is 1, which has no keys"),
        ("a" + ".a" * 5000 + "=1", "a" + ".a" * 5000, "nested more than 64 deep"),
        (
            "a.c." + "9" * 5000 + "=1",
            "a.c." + "9" * 5000,
            f"a.c is a list without '{'9' * 5000}': its items are a.c.0 … 1",
        ),
        ("extends=base.yaml", "extends", "extends is read from a file and cannot be overridden"),
    ],
)
def test_what_is_wrong_with_an_override(override, path, message):
    where, found, said = mistake(data, BASE + "e: []", override)
    assert (where, found, said) == (f"command line: {override}", path, message)


def test_all_the_wrong_overrides_at_once():
    assert [path for _, path, _ in mistakes(data, BASE, "foo", "a.b=2", "a..b=1")] == ["foo", "a..b"]
    assert [path for _, path, _ in mistakes(data, BASE, "a.c.7=1", "a.b=2", "a.b.k=1")] == ["a.c.7", "a.b.k"]


def test_an_override_that_a_later_one_undoes():
    message = "undone: m.name comes after it and replaces all of m; put that first"
    assert mistake(data, BASE, "m.x=5", "m.name=p") == ("command line: m.x=5", "m.x", message)
    assert mistake(data, BASE, "m.x=5", "m=p")[2].startswith("undone: m comes after")
    assert data(BASE, "m.x=5", "m={s: z}")["m"] == {"name": "p", "x": 5, "s": "z"}, "a merge undoes nothing"
    assert data(BASE, "m.name=z", "m.name=w")["m"] == {"name": "w"}, "the later of equals wins"


def test_a_study_applies_its_settings_with_their_own_places():
    write("study.yaml", "variants:\n  cosine:\n    m.s: cosine\n    a.c.1.k: 7\n    r: {sweep: {a.b: [3]}}\n")
    base, study = read(write(text=BASE)), read("study.yaml")
    variant = with_overrides(base, subdocument(study, ("variants", "cosine")))
    assert variant.data["m"]["s"] == "cosine" and variant.data["a"]["c"][1] == {"name": "y", "k": 7}
    assert variant.data["r"] == {"sweep": {"a.b": [3]}}
    assert variant.where(("m", "s")) == "study.yaml:3:5" and variant.where(("m", "x")) == "config.yaml:2:14"
    assert base.data == data(BASE), "the base stays as it was"
    wrong = from_mapping({"a.b.k": 1})
    assert mistake(with_overrides, base, wrong) == ("settings", "a.b.k", "a.b is 1, which has no keys")
    with pytest.raises(TypeError, match="only a mapping is a document, 'variants' is a list"):
        subdocument(from_mapping({"variants": [1]}), "variants")


def test_settings_as_a_mapping():
    base = from_mapping({"m": {"name": "p", "x": 1}, "k": (1, 2)})
    assert base.data == {"m": {"name": "p", "x": 1}, "k": [1, 2]}
    changed = with_overrides(base, {"m.x": 3, "k.0": 5, "model": {"a.b": 1}})
    assert changed.data == {"m": {"name": "p", "x": 3}, "k": [5, 2], "model": {"a.b": 1}}
    assert changed.where(("m", "x")) == "setting: m.x=3"
    assert with_overrides(base, {"m": {"x": 2}}, "variant two").where(("m", "x")) == "variant two: m=a mapping"
    assert with_overrides(base, "m.x=3").data["m"]["x"] == 3
    assert mistake(with_overrides, base, {"m.x": {1}}) == ("setting: m.x={1}", "m.x", "must be plain data, got a set")
    assert mistake(from_mapping, {"a": {1: 2}}) == ("settings", "a.1", "a key must be text, got 1")


def test_errors_are_aligned_and_travel():
    error = ConfigError([Problem("a.yaml:1:2", "b", "wrong", "right"), Problem("command line: c=1", "dd.e", "bad")])
    assert str(error).split("\n") == [
        "a.yaml:1:2         b     wrong  did you mean right?",
        "command line: c=1  dd.e  bad",
    ]
    assert str(ConfigError([Problem("a.yaml", "", "wrong")])) == "a.yaml  wrong"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_words():
    assert nearest("Windw", ["window", "causal"]) == "window" and nearest("zzz", ["window"]) is None
    values = [None, True, 1.5, "x", [1], {"a": 1}, "y" * 99]
    assert [shown(value) for value in values] == [
        "null",
        "true",
        "1.5",
        "'x'",
        "a list",
        "a mapping",
        f"'{'y' * 56}…'",
    ]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from(list("ab: \n\t-[]{},&*!|>'\"%@`#?\\~=<.01e_\u2028\x85\ufeffé\x07U")), max_size=30))
def test_any_text_is_read_or_refused(text):
    for attempt in (lambda: data(text), lambda: with_overrides(from_mapping({"a": {"b": [1]}}), [text])):
        try:
            attempt()
        except ConfigError as error:
            assert str(error)
