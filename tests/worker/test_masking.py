"""Secret values never show, however the bytes arrive."""

import re

from hypothesis import given
from hypothesis import strategies as st

from reactorcide.worker.masking import MASK, Masker

LETTERS = st.text(alphabet="abc", min_size=1, max_size=6)
VALUES = st.lists(LETTERS, min_size=1, max_size=4)
PIECES = st.lists(st.text(alphabet="abc\n", max_size=8).map(str.encode), max_size=8)


def masked(values: list[str], *pieces: bytes) -> bytes:
    """Return all that a masker shows of the pieces."""
    masker = Masker(values)
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
    assert masked(["xab", "abq"], b"-xabq-") == b"-***-"


def test_text_that_begins_no_value_is_not_held_back() -> None:
    """The first byte is out as soon as it arrives."""
    assert Masker(["secret"]).feed(b"hello\n") == b"hello\n"


def test_what_only_looked_like_a_value_comes_out_in_the_end() -> None:
    """The beginning of a value at the end of the stream is no value."""
    masker = Masker(["secret"])
    assert masker.feed(b"sec") == b""
    assert masker.finish() == b"sec"


def test_without_values_bytes_pass_as_they_are() -> None:
    """Any bytes: nothing is decoded."""
    every_byte = bytes(range(256))
    assert masked([""], every_byte) == every_byte


@given(VALUES, PIECES)
def test_where_the_pieces_were_cut_makes_no_difference(
    values: list[str], pieces: list[bytes]
) -> None:
    """One piece or many: the same is shown."""
    assert masked(values, *pieces) == masked(values, b"".join(pieces))


@given(VALUES, PIECES)
def test_no_value_is_left_between_masks(values: list[str], pieces: list[bytes]) -> None:
    """What is shown between two masks holds no value."""
    for part in masked(values, *pieces).split(MASK):
        assert not any(value.encode() in part for value in values)


@given(VALUES, PIECES)
def test_only_what_belongs_to_a_value_is_hidden(values: list[str], pieces: list[bytes]) -> None:
    """The text without its values is what shows without its masks."""
    text = b"".join(pieces)
    hidden = set[int]()
    for value in values:
        for found in re.finditer(b"(?=" + re.escape(value.encode()) + b")", text):
            hidden.update(range(found.start(), found.start() + len(value)))
    shown = bytes(byte for at, byte in enumerate(text) if at not in hidden)
    assert masked(values, *pieces).replace(MASK, b"") == shown
