"""Secret values never show, however they are written and however the bytes arrive."""

import base64
import os
import random
import re
import shutil
import subprocess
import sys
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactorcide.tests.worker.canaries import canaries, writings
from reactorcide.worker.encodings import forms
from reactorcide.worker.masking import MASK, Masker, Patterns

CANARIES = int(os.environ.get("REACTORCIDE_CANARIES", "10"))
"""`make canaries` has a thousand of them."""

VALUES = st.lists(st.text(alphabet="abc", min_size=4, max_size=8), min_size=1, max_size=4)
PIECES = st.lists(st.text(alphabet="abc\n", max_size=12).map(str.encode), max_size=8)


@lru_cache
def patterns(*values: str) -> Patterns:
    """Return what the values look like."""
    return Patterns(values)


def masked(values: list[str], *pieces: bytes) -> bytes:
    """Return all that a masker shows of the pieces."""
    masker = Masker(patterns(*values))
    return b"".join([*map(masker.feed, pieces), masker.finish()])


def test_a_value_is_replaced_by_the_mask() -> None:
    """The text around it stays as it is."""
    assert masked(["hunter2"], b"pw=hunter2;\n") == b"pw=***;\n"


def test_a_value_cut_in_two_is_still_masked() -> None:
    """Wherever it is cut."""
    for at in range(1, 7):
        assert masked(["hunter2"], b"a hunter2"[: 2 + at], b"a hunter2"[2 + at :]) == b"a ***"


def test_the_longer_of_two_values_leaves_no_tail() -> None:
    """A value that begins with another one is hidden whole."""
    assert masked(["abcd", "abcdefgh"], b"[abcdefgh] [abcd]") == b"[***] [***]"


def test_overlapping_values_are_hidden_as_one() -> None:
    """No letter of either shows."""
    assert masked(["xxab", "abqq"], b"-xxabqq-") == b"-***-"


def test_text_that_begins_no_value_is_not_held_back() -> None:
    """The first byte is out as soon as it arrives."""
    assert Masker(patterns("secret")).feed(b"hello\n") == b"hello\n"


def test_what_only_looked_like_a_value_comes_out_in_the_end() -> None:
    """The beginning of a value at the end of the stream is no value."""
    masker = Masker(patterns("secret"))
    assert masker.feed(b"sec") == b""
    assert masker.finish() == b"sec"


def test_no_more_is_held_back_than_a_pattern_less_a_byte() -> None:
    """However long the text is that could be the beginning of one."""
    found = patterns("a" * 100 + "b")
    masker = Masker(found)
    taken = sum(len(masker.feed(b"a" * 1000)) for _ in range(10))
    assert 10_000 - taken < found.longest


def test_without_values_bytes_pass_as_they_are() -> None:
    """Any bytes: nothing is decoded."""
    every_byte = bytes(range(256))
    masker = Masker(None)
    assert masker.feed(every_byte) is every_byte
    assert masker.finish() == b""


@given(VALUES, PIECES)
def test_where_the_pieces_were_cut_makes_no_difference(
    values: list[str], pieces: list[bytes]
) -> None:
    """One piece or many: the same is shown."""
    assert masked(values, *pieces) == masked(values, b"".join(pieces))


@given(VALUES, PIECES)
def test_only_what_belongs_to_a_value_is_hidden(values: list[str], pieces: list[bytes]) -> None:
    """The text without its values is what shows without its masks; no value is left."""
    text = b"".join(pieces)
    hidden = set[int]()
    for value in values:
        for found in re.finditer(b"(?=" + re.escape(value.encode()) + b")", text):
            hidden.update(range(found.start(), found.start() + len(value)))
    shown = bytes(byte for at, byte in enumerate(text) if at not in hidden)
    assert masked(values, *pieces).replace(MASK, b"") == shown


@given(
    st.lists(st.text(min_size=4, max_size=300).filter(str.strip), min_size=1, max_size=3),
    st.lists(st.binary(max_size=80), max_size=6),
    st.integers(min_value=1, max_value=90),
)
def test_any_bytes_around_any_value_are_the_same_however_they_are_cut(
    values: list[str], around: list[bytes], size: int
) -> None:
    """Encoded values among noise, wrapped lines among them."""
    noise = list(around)
    for value in values:
        data = value.encode()
        noise += [data, base64.encodebytes(b"x" * 60 + data), data.hex().encode()]
    text = b"".join(random.Random(size).sample(noise, len(noise)))  # noqa: S311  not a secret
    whole = masked(values, text)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert masked(values, *pieces) == whole
    for value in values:
        assert value.encode() not in whole


# Encodings


def test_no_canary_shows_in_any_writing_at_any_cut() -> None:
    """And nothing else is hidden: what is left is known to the letter."""
    all_of_them = canaries(CANARIES)
    leaks = []
    for at in range(0, len(all_of_them), 10):
        group = all_of_them[at : at + 10]
        found = Patterns(group)
        for value in group:
            for name, text, shown in writings(value):
                for cut in range(len(text)):
                    masker = Masker(found)
                    got = masker.feed(text[:cut]) + masker.feed(text[cut:]) + masker.finish()
                    if got != shown:
                        leaks.append((name, value, cut, got, shown))
    assert not leaks[:10]


@pytest.mark.parametrize(
    "script",
    [
        'printf %s "$SECRET" | base64',
        'printf "user:%s@host" "$SECRET" | base64',
        "env | base64",
        'printf %s "$SECRET" | od -An -v -tx1 | tr -d " \\n"',
        'printf %q "$SECRET"',
        "export -p",
        "set",
        'set -x; : "$SECRET"',
        'echo "${SECRET@Q}"',
        f"'{sys.executable}' -c 'import os, json; print(json.dumps(dict(os.environ)))'",
    ],
)
@pytest.mark.parametrize(
    "value",
    [
        "plain0secret0value",
        'it\'s "quoted" $HOME `x` \\ & <b>/%+ ~',
        "Schlüssel zum Glück 🔑",
        (
            "-----BEGIN A KEY-\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n"
            "MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SCmEvLmDX0sfQmd2FoeQvCY8RNmPF8Kn2\n-----END KEY-----\n"
        ),
        "x" * 500 + "0123456789" * 30,
    ],
)
def test_what_programs_print_of_a_secret_is_hidden(script: str, value: str) -> None:
    """Written by real programs, over lines that they wrap; no twelve letters of it are left."""
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("no bash here")
    done = subprocess.run(
        [shell, "-c", script],
        env={"SECRET": value, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        check=True,
        capture_output=True,
    )
    text = done.stdout + done.stderr
    shown = masked([value], text)
    assert MASK in shown
    unwrapped = shown.replace(b"\n", b"")
    for form in forms(value):
        for at in range(0, len(form) - 11, 4):
            assert form[at : at + 12] not in unwrapped, form[at : at + 12]


def test_lines_of_a_value_are_hidden_one_by_one() -> None:
    """Those of four bytes and more, without the spaces around them."""
    value = "first line\r\n  second\nend\n}\n"
    shown = masked([value], b"[first line] [second] [end] [}]")
    assert shown == b"[***] [***] [end] [}]"
    assert masked([value], value.encode()) == b"***"


def test_a_short_value_is_no_secret() -> None:
    """It would hide half of what is printed; a submit refuses it."""
    assert masked(["abc"], b"abcabc") == b"abcabc"


def test_a_long_value_is_hidden_whole_in_every_form() -> None:
    """Nothing shows between its pieces."""
    value = "".join(random.Random(7).choices("abcdefgh+/%\"'é", k=3000))  # noqa: S311  the same always
    for name, text, shown in writings(value):
        assert masked([value], text) == shown, name


def test_a_wrapped_text_hides_no_more_than_a_value() -> None:
    """Lines that no value crosses stay as they are, and so do short ones."""
    value = "hunter2hunter2"
    text = base64.encodebytes(b"-" * 57 + b"=" * 50 + value.encode() + b"+" * 90)
    lines = masked([value], text).split(b"\n")
    assert lines[0] == text.split(b"\n")[0]
    assert masked([value], b"hunter2\nhunter2\n") == b"hunter2\nhunter2\n"


def test_many_values_that_hold_each_other_are_searched_for_once() -> None:
    """What repeats itself costs no more than other text."""
    found = Patterns(["\n".join("a" * size for size in range(4, 60))])
    assert found.hide(b"a" * 50_000 + b"b") == b"***b"
    assert len(found._sorted) < 500  # noqa: SLF001  what matters is how many are left
