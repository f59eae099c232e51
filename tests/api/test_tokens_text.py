"""The text of a token."""

from reactorcide.api.tokens_text import hash_of, is_token_text, new_token_text


def test_a_new_token_has_its_shape_and_its_hash() -> None:
    """`rct_` and 36 letters, all of them different."""
    made = [new_token_text() for _ in range(100)]
    for one in made:
        assert is_token_text(one.text)
        assert len(one.text) == 40
        assert one.text.startswith(one.prefix)
        assert one.token_hash == hash_of(one.text)
    assert len({one.text for one in made}) == 100


def test_a_typo_is_no_token() -> None:
    """Any one letter changed is noticed without a look at the database."""
    text = new_token_text().text
    for nth in range(len(text)):
        other = "x" if text[nth] != "x" else "y"
        assert not is_token_text(text[:nth] + other + text[nth + 1 :])
    assert not is_token_text(text[:-1])
    assert not is_token_text(text + "0")
    assert not is_token_text("")
