"""YAML as plain data: what people mean, where it stands, and what is refused."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import InputError
from scheduler.io import yaml_text
from scheduler.io.yaml_text import parse_yaml, read_yaml, scalar, show_path


def data(text: str | bytes) -> dict[str, object]:
    raw = text.encode() if isinstance(text, str) else text
    return parse_yaml(raw, "f.yaml").data


def message(text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        parse_yaml(text.encode() if isinstance(text, str) else text, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("-3", -3),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30:00", "12:30:00"),
        ("2026-01-31", "2026-01-31"),
        ("007", "007"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12e", "12e"),
        (".", "."),
        ("e5", "e5"),
        ("1.2.3", "1.2.3"),
        ("'1'", "1"),
        ('"true"', "true"),
        (".inf", math.inf),
        ("9223372036854775808", 9223372036854775808.0),
        ("9" * 5000, math.inf),
    ],
)
def test_scalars_read_as_people_mean(text: str, expected: object) -> None:
    found = data(f"a: {text}")["a"]
    assert found == expected
    assert type(found) is type(expected)
    if not text.startswith(("'", '"')):
        assert scalar(text) == expected


def test_nan_is_a_number_for_the_caller_to_refuse() -> None:
    assert math.isnan(data("a: .nan")["a"])  # type: ignore[arg-type]


def test_lines_of_fields() -> None:
    document = parse_yaml(b"a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", "f.yaml")
    assert document.data == {"a": 1, "b": ["x", {"c": 2, "d": 3}]}
    lines = {show_path(p): n for p, n in document.lines.items()}
    assert lines == {"": 1, "a": 1, "b": 2, "b[0]": 3, "b[1]": 4, "b[1].c": 4, "b[1].d": 5}
    assert document.line(("b", 1, "missing")) == 4


def test_duplicate_keys_are_faults_and_the_first_is_kept() -> None:
    document = parse_yaml(b"a: 1\nb: {x: 1, x: 2}\na: {y: 1}\n", "f.yaml")
    assert document.data == {"a": 1, "b": {"x": 1}}
    assert [(f.path, f.line, f.message) for f in document.faults] == [
        ("b.x", 2, "duplicate field, first on line 2"),
        ("a", 3, "duplicate field, first on line 1"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "f.yaml: the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"- 1\n", "f.yaml:1: not a mapping"),
        (b"just text", "not a mapping"),
        (b"a: [", "f.yaml:2: not valid YAML"),
        (b"a: 'open", "not valid YAML"),
        (b"a:\n\t- 1", "f.yaml:2: not valid YAML: found character"),
        (b"a: 1\n---\nb: 2\n", "f.yaml:2: more than one document"),
        (b"a: &x 1\nb: 2\n", "f.yaml:1: a: anchors are not allowed, got '&x'"),
        (b"a: 1\nb: *x\n", "f.yaml:2: b: aliases are not allowed, got '*x'"),
        (b"a: !!python/object/apply:os.system ['true']", "tags are not allowed"),
        (b"a: !!str 1", "tags are not allowed"),
        (b"!x {a: 1}", "f.yaml:1: tags are not allowed, got '!x'"),
        (b"? [1]\n: 2", "a key must be text"),
        (b"a: " + b"[" * 100, "nested too deeply; allowed: 64 levels"),
        (b"a: " + b"{b: " * 100, "nested too deeply"),
        ("a: 1".encode("utf-16"), "UTF-16"),
        ("a: 1".encode("utf-32"), "UTF-16 or UTF-32"),
        (b"a: 1\nb: \x00", "f.yaml:2: NUL character"),
        (b"a: 1\nb: \xff", "f.yaml:2: not UTF-8 text"),
        (b"a: 1\nb: \x07", "f.yaml:2: not valid YAML"),
    ],
)
def test_refusals(text: bytes, expected: str) -> None:
    assert expected in message(text)


def test_alias_bomb_is_refused_at_once() -> None:
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 9))
    text = "l0: &l0 [x, x]\n" + levels
    found = message(text)
    assert found.count("anchors are not allowed") >= 1
    assert "more faults" in found


def test_bom_and_windows_line_ends_are_fine() -> None:
    assert data(b"\xef\xbb\xbfa: 1\r\nb: x y\r\n") == {"a": 1, "b": "x y"}


def test_merge_keys_have_no_meaning() -> None:
    assert data("<<: {a: 1}") == {"<<": {"a": 1}}


def test_size_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_text, "SIZE_CAP_BYTES", 100)
    path = tmp_path / "big.yaml"
    path.write_text("a: " + "x" * 200)
    with pytest.raises(InputError, match="too large"):
        read_yaml(path)


def test_value_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_text, "VALUE_CAP", 10)
    assert "too many values" in message("a: [" + "1, " * 20 + "1]")


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path / "missing.yaml")


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcxyz", min_size=1, max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


class _Quoting(yaml.SafeDumper):
    """Writes text in quotes (PyYAML takes 0E0 for text) and no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


@given(value=st.dictionaries(st.text("abcdef", min_size=1, max_size=4), PLAIN, min_size=1))
def test_what_pyyaml_writes_reads_back(value: dict[str, object]) -> None:
    assert data(yaml.dump(value, Dumper=_Quoting, allow_unicode=True)) == value


@given(raw=st.binary(max_size=60) | st.text("a:-[]{}&*!|>'\"#%@`,? \n\t01.", max_size=40))
def test_any_bytes_are_read_or_refused(raw: bytes | str) -> None:
    with contextlib.suppress(InputError):
        document = parse_yaml(raw if isinstance(raw, bytes) else raw.encode(), "f.yaml")
        assert document.data is not None
