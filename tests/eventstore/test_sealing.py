"""Sealed values open with the right key and name, and with nothing else."""

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactorcide.eventstore.sealing import KEY_BYTES, SealBroken, Sealer, key_from_file

KEY = bytes(range(KEY_BYTES))


@given(plain=st.text(), name=st.text())
def test_what_was_sealed_opens_again(plain: str, name: str) -> None:
    """Any text under any name."""
    sealer = Sealer(KEY)
    sealed = sealer.seal(plain, name)
    assert sealed.startswith(f"v1.{sealer.key_id}.")
    assert sealer.open(sealed, name) == plain


def test_sealing_twice_gives_different_texts() -> None:
    """Nobody sees that two secrets are alike."""
    sealer = Sealer(KEY)
    assert sealer.seal("a", "N") != sealer.seal("a", "N")


def test_a_value_does_not_open_under_another_name() -> None:
    """The name is bound in."""
    sealer = Sealer(KEY)
    with pytest.raises(SealBroken, match="OTHER") as raised:
        sealer.open(sealer.seal("secret", "NAME"), "OTHER")
    assert "secret" not in str(raised.value)


def test_another_key_is_named_by_its_id() -> None:
    """Who turns keys over learns which one is missing."""
    sealed = Sealer(KEY).seal("a", "N")
    other = Sealer(bytes(KEY_BYTES))
    with pytest.raises(SealBroken, match=f"{Sealer(KEY).key_id}.*{other.key_id}"):
        other.open(sealed, "N")


@pytest.mark.parametrize("place", [0, 20, -1])
def test_a_changed_value_does_not_open(place: int) -> None:
    """Nonce, text and tag are all vouched for."""
    sealer = Sealer(KEY)
    head, raw = sealer.seal("secret value", "N").rsplit(".", 1)
    changed = bytearray(base64.b64decode(raw))
    changed[place] ^= 1
    with pytest.raises(SealBroken):
        sealer.open(f"{head}.{base64.b64encode(changed).decode()}", "N")


@pytest.mark.parametrize("sealed", ["", "v1", "v2.x.y", "v1.{}.", "v1.{}.*", "v1.{}.AAAA"])
def test_what_is_no_sealed_value_says_so(sealed: str) -> None:
    """Whatever stands there, the error is ours."""
    sealer = Sealer(KEY)
    with pytest.raises(SealBroken):
        sealer.open(sealed.format(sealer.key_id), "N")


def test_a_sealer_never_shows_its_key() -> None:
    """Not in a log line that prints it."""
    assert repr(Sealer(KEY)) == f"Sealer({Sealer(KEY).key_id})"
    assert Sealer(KEY).key_id not in KEY.hex()


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    """AES-256 or nothing."""
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(bytes(length))


def test_a_key_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    """Mode 0600, and the same key ever after."""
    path = tmp_path / "data" / "secret.key"
    key = key_from_file(path)
    assert len(key) == KEY_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_from_file(path) == key
    assert [entry.name for entry in path.parent.iterdir()] == ["secret.key"]


def test_programs_that_start_together_share_a_key(tmp_path: Path) -> None:
    """One of them makes it, all of them read it."""
    path = tmp_path / "secret.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(key_from_file, [path] * 32))
    assert len(keys) == 1


@pytest.mark.parametrize("content", ["", "not base64!", "AAAA", "ü"])
def test_a_file_with_something_else_is_refused(tmp_path: Path, content: str) -> None:
    """A damaged key is not silently replaced: it would lock up all secrets."""
    path = tmp_path / "secret.key"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=r"secret\.key"):
        key_from_file(path)
    assert path.read_text("utf-8") == content
