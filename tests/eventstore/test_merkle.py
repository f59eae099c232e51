"""The Merkle tree: RFC 6962's definitions, and proofs that hold and fail as they must."""

import os
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactorcide.eventstore import merkle
from reactorcide.eventstore.merkle import HASH_BYTES, TileId, Tree

# The eight leaves that Certificate Transparency's own tests use, and the roots over the first n.
LEAVES: Final = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS: Final = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
SEED: Final = os.urandom(8)
OTHER: Final = b"o" * 32


def leaf(number: int) -> bytes:
    """Return the hash of some leaf."""
    return sha256(SEED + number.to_bytes(8)).digest()


def leaves(count: int) -> bytes:
    """Return the hashes of the first leaves."""
    return b"".join(map(leaf, range(count)))


def by_definition(hashes: list[bytes]) -> bytes:
    """Return MTH as section 2.1 writes it down."""
    if len(hashes) == 1:
        return hashes[0]
    half = 1
    while half * 2 < len(hashes):
        half *= 2
    return merkle.inner_hash(by_definition(hashes[:half]), by_definition(hashes[half:]))


def grown(size: int, step: int) -> tuple[Tree, Mapping[TileId, bytes]]:
    """Return a tree that grew by so many leaves at a time, and its tiles."""
    tree, tiles, hashes = Tree(), dict[TileId, bytes](), leaves(size)
    for at in range(0, size, step):
        tiles |= tree.append(hashes[at * HASH_BYTES : (at + step) * HASH_BYTES])
    return tree, tiles


def test_roots_are_those_of_certificate_transparency() -> None:
    """Over its eight test leaves, the empty tree included."""
    hashes = [merkle.leaf_hash(entry) for entry in LEAVES]
    for size, expected in enumerate(ROOTS):
        tree = Tree()
        tree.append(b"".join(hashes[:size]))
        assert tree.root().hex() == merkle.root_of(b"".join(hashes[:size])).hex() == expected


@given(st.integers(1, 3000), st.integers(1, 3000))
@settings(max_examples=20)
def test_a_tree_is_the_same_however_it_grew(size: int, step: int) -> None:
    """Root and tiles; and it goes on from the edges that were stored."""
    tree, tiles = grown(size, step)
    whole, at_once = grown(size, size)
    assert tree.root() == whole.root() == by_definition([leaf(n) for n in range(size)])
    assert tiles == at_once
    assert merkle.root_at(size, tiles) == tree.root()
    for tile, hashes in tiles.items():
        assert merkle.width_of(tile, size) == len(hashes) // HASH_BYTES
    resumed = Tree(size, [tiles.get(tile, b"") for tile in merkle.edges_of(size)])
    more = leaf(size)
    assert resumed.append(more) == tree.append(more)
    assert resumed.root() == tree.root()


def test_a_tree_of_three_levels_is_that_of_the_definition() -> None:
    """At 65,536 leaves a tile of tiles is full."""
    size = 65_536 + 700
    tree, tiles = grown(size, 5_000)
    assert tree.root() == merkle.root_of(leaves(size))
    assert merkle.width_of(TileId(2, 0), size) == 1
    for index in (0, 65_535, 65_536, size - 1):
        proof = [merkle.hash_of(one, tiles) for one in merkle.inclusion_ranges(index, size)]
        assert merkle.is_included(index, size, leaf(index), proof, tree.root())


@given(st.data())
@settings(max_examples=60)
def test_an_inclusion_proof_holds_for_its_leaf_alone(data: st.DataObject) -> None:
    """Any other leaf, place, size, root, or proof with a hash changed, left out or added fails."""
    size = data.draw(st.integers(1, 700))
    index = data.draw(st.integers(0, size - 1))
    _, tiles = grown(700, 700)
    root = merkle.root_at(size, tiles)
    ranges = merkle.inclusion_ranges(index, size)
    assert merkle.tiles_of(ranges) <= tiles.keys()
    proof = [merkle.hash_of(one, tiles) for one in ranges]
    assert merkle.is_included(index, size, leaf(index), proof, root)
    assert not merkle.is_included(index, size, leaf(index + 1), proof, root)
    assert not merkle.is_included(index, size, leaf(index), [*proof, OTHER], root)
    assert not merkle.is_included(index, size, leaf(index), proof, OTHER)
    assert not merkle.is_included(size, size, leaf(index), proof, root)
    assert not merkle.is_included(-1, size, leaf(index), proof, root)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not merkle.is_included(index, size, leaf(index), proof[:-1], root)
        changed = [*proof[:at], OTHER, *proof[at + 1 :]]
        assert not merkle.is_included(index, size, leaf(index), changed, root)
        assert not merkle.is_included(index ^ 1, size, leaf(index), proof, root)


@given(st.data())
@settings(max_examples=60)
def test_a_consistency_proof_holds_for_its_trees_alone(data: st.DataObject) -> None:
    """Any other size, root or proof fails."""
    size = data.draw(st.integers(1, 700))
    old_size = data.draw(st.integers(1, size))
    _, tiles = grown(700, 700)
    old_root, root = (merkle.root_at(one, tiles) for one in (old_size, size))
    ranges = merkle.consistency_ranges(old_size, size)
    assert merkle.tiles_of(ranges) <= tiles.keys()
    proof = [merkle.hash_of(one, tiles) for one in ranges]
    assert merkle.is_consistent(old_size, size, old_root, root, proof)
    assert not merkle.is_consistent(old_size, size, OTHER, root, proof)
    assert not merkle.is_consistent(old_size, size, old_root, OTHER, proof)
    assert not merkle.is_consistent(old_size, size, old_root, root, [*proof, OTHER])
    assert not merkle.is_consistent(0, size, old_root, root, proof)
    assert not merkle.is_consistent(size + 1, size, old_root, root, proof)
    for at in range(len(proof)):
        changed = [*proof[:at], OTHER, *proof[at + 1 :]]
        assert not merkle.is_consistent(old_size, size, old_root, root, changed)
    if proof:
        assert not merkle.is_consistent(old_size, size, old_root, root, proof[:-1])


def test_what_a_tree_does_not_have_has_no_proof() -> None:
    """A leaf behind the end, a larger old tree, a tile that is cut short."""
    for index, size in ((0, 0), (3, 3), (-1, 3)):
        with pytest.raises(ValueError, match="no leaf"):
            merkle.inclusion_ranges(index, size)
    for old_size, size in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match="nothing proves"):
            merkle.consistency_ranges(old_size, size)
    with pytest.raises(ValueError, match="cut short"):
        merkle.hash_of((0, 2), {TileId(0, 0): OTHER})
    with pytest.raises(ValueError, match="edge"):
        Tree(2, [OTHER])


# Certificate Transparency's own: sizes of both trees, and the proof.
CONSISTENCY: Final = (
    (1, 1, ()),
    (
        1,
        8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        6,
        8,
        (
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (
        2,
        5,
        (
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
)


@pytest.mark.parametrize(("old_size", "size", "expected"), CONSISTENCY)
def test_proofs_are_those_of_certificate_transparency(
    old_size: int, size: int, expected: tuple[str, ...]
) -> None:
    """Byte for byte, over its eight test leaves."""
    tree = Tree()
    tiles = tree.append(b"".join(map(merkle.leaf_hash, LEAVES)))
    ranges = merkle.consistency_ranges(old_size, size)
    assert tuple(merkle.hash_of(one, tiles).hex() for one in ranges) == expected
    proof = [bytes.fromhex(one) for one in expected]
    roots = bytes.fromhex(ROOTS[old_size]), bytes.fromhex(ROOTS[size])
    assert merkle.is_consistent(old_size, size, *roots, proof)
