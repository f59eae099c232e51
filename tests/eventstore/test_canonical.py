"""Canonical JSON: the RFC's own vectors, and what must hold of any value."""

import json
import math
import struct
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactorcide.eventstore.canonical import canonical, canonical_text, number_text

# RFC 8785, appendix B: the bits of a double, and its text.
NUMBERS: Final = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}

JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_a_number_is_written_as_the_rfc_lists_it(bits: str, text: str) -> None:
    """The samples of appendix B, by the function and inside of a text."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert number_text(number) == text
    assert canonical_text(repr(number)) == text.encode()


def test_the_example_of_the_rfc_is_written_as_there() -> None:
    """Section 3.2.2 and 3.2.3: literals, escapes, numbers, and the order of keys."""
    written = r"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],'
        '"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_text(written) == expected.encode()


def test_keys_are_in_the_order_of_utf_16() -> None:
    """Section 3.2.3: a character beyond the first plane comes before U+FB33."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    expected = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    value = dict.fromkeys(keys, 0)
    for made in (canonical(value), canonical_text(json.dumps(value))):
        assert list(json.loads(made)) == expected


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "1e400", "[-1e999]", '"\\ud800"', "{", "", '{"a":1}x']
)
def test_what_json_cannot_say_is_refused(text: str) -> None:
    """No numbers beyond doubles, no lone surrogates, nothing malformed."""
    with pytest.raises(ValueError, match=r"\w"):
        canonical_text(text)


def test_deep_nesting_is_refused() -> None:
    """Rather than a crash."""
    with pytest.raises(ValueError, match="deep"):
        canonical_text("[" * 100_000 + "]" * 100_000)


@given(JSON, st.booleans())
def test_the_way_it_was_written_does_not_matter(value: Any, is_ascii: bool) -> None:  # noqa: FBT001  drawn
    """Order of keys, space and escapes change nothing; the fast and the slow way agree."""
    made = canonical(value)
    assert canonical_text(json.dumps(value, ensure_ascii=is_ascii, indent=1)) == made
    turned = json.loads(json.dumps(value), object_pairs_hook=lambda pairs: dict(pairs[::-1]))
    assert canonical(turned) == canonical_text(json.dumps(turned)) == made
    assert canonical_text(made.decode()) == made
    assert json.loads(made, parse_int=float) == json.loads(json.dumps(value), parse_int=float)


ALIKE: Final = (
    (str(2**53), str(2**53 + 1)),
    (str(2**63 - 1), str(2**63 - 2), str(2**63), "9223372036854776000", "-9223372036854775807"),
    ("1e300", str(10**300 + 1)),
)
"""Whole numbers that are the same double, or a neighbour's."""


@pytest.mark.parametrize("numbers", ALIKE)
def test_whole_numbers_that_no_double_tells_apart_are_written_differently(
    numbers: tuple[str, ...],
) -> None:
    """Each as just the number it is: who changed its last digits would change the hash."""
    written = [canonical_text(f'{{"n":[{number}]}}').decode() for number in numbers]
    assert len(set(written)) == len(numbers)
    for text, number in zip(written, numbers, strict=True):
        assert Decimal(text[6:-2]) == Decimal(number)


@given(st.integers(-(10**25), 10**25), st.integers(-3, 3))
def test_whole_numbers_have_one_form_each(number: int, step: int) -> None:
    """As a value and as a text; one that its double writes exactly is written as that does."""
    for one in (number, number + step, 2**53 + step, -(2**63) + step):
        made = canonical(one)
        assert canonical_text(str(one)) == canonical_text(made.decode()) == made
        assert Decimal(made.decode()) == one
        if abs(one) <= 2**53:
            assert made == str(one).encode()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_the_same_double(number: float) -> None:
    """And in the layout of ECMAScript: no needless zeros, no point without digits."""
    text = number_text(number)
    assert float(text) == number
    assert math.copysign(1, number) > 0 or number == 0 or text.startswith("-")
    assert not text.endswith((".", ".0"))
    assert ("e" in text) == (number != 0 and not 1e-6 <= abs(number) < 1e21)
