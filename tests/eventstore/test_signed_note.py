"""Signed notes: the format's own example, and nothing accepted that was not signed."""

import base64
from pathlib import Path
from typing import Final

import pytest

from reactorcide.eventstore.merkle import EMPTY_ROOT
from reactorcide.eventstore.signed_note import (
    NoteBroken,
    Signer,
    TreeHead,
    Verifier,
    signing_key,
)

# The example of golang.org/x/mod/sumdb/note.
VERIFIER: Final = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PRIVATE: Final = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT: Final = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
SIGNED: Final = TEXT + (
    "\n\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqf"
    "qdngotpRZb6KE6RyyBwJnAM=\n"
)


def peter() -> Signer:
    """Return the example's signer."""
    return Signer("PeterNeumann", base64.b64decode(PRIVATE.split("+", 4)[4])[1:])


def test_the_example_of_the_format_is_signed_and_opened() -> None:
    """The same bytes as the format's first implementation makes."""
    assert peter().verifier.text == VERIFIER
    assert peter().sign(TEXT) == SIGNED
    assert Verifier.parse(VERIFIER).open(SIGNED) == TEXT


def test_signatures_of_others_are_passed_over() -> None:
    """A witness may have added its own."""
    witness = Signer("witness.example", b"w" * 32)
    both = SIGNED + witness.sign(TEXT).rpartition("\n\n")[2]
    assert Verifier.parse(VERIFIER).open(both) == TEXT
    assert witness.verifier.open(both) == TEXT


@pytest.mark.parametrize(
    "note",
    [
        "",
        TEXT,
        SIGNED[:-1],
        SIGNED.replace("answer", "Answer"),
        SIGNED.replace("x08go/ZJ", "x08go/ZK"),
        SIGNED.replace("PeterNeumann", "Peter"),
        SIGNED.replace("\u2014 ", "- "),
        SIGNED + "more\n",
        SIGNED.replace("qdngotpR", "qdng*tpR"),
    ],
)
def test_a_note_that_was_changed_is_not_opened(note: str) -> None:
    """Text, signature, name or form."""
    with pytest.raises(NoteBroken):
        Verifier.parse(VERIFIER).open(note)


@pytest.mark.parametrize(
    "text",
    ["", "a", "a+b", "a+00000000+AQ==", VERIFIER.replace("c74f20a3", "c74f20a4"), "+" + VERIFIER],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    """A key in another form, or with the hash of another one."""
    with pytest.raises(NoteBroken):
        Verifier.parse(text)


def test_a_checkpoint_reads_back() -> None:
    """Origin, size and root; lines that later versions add are let pass."""
    head = TreeHead("reactorcide/test", 20, EMPTY_ROOT)
    assert TreeHead.parse(head.text) == head
    assert TreeHead.parse(head.text + "extension\n") == head
    for broken in ("", "a\n1\n", head.text.replace("20", "020"), head.text.replace("=", "")):
        with pytest.raises(NoteBroken):
            TreeHead.parse(broken)


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """Whoever asks again gets the same; it is never shown."""
    path = tmp_path / "keys" / "log.key"
    key = signing_key(path)
    assert signing_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert base64.b64encode(key).decode() not in repr(Signer("log", key))
    with pytest.raises(ValueError, match="new line"):
        Signer("log", key).sign("no end")
