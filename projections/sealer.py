"""Seals the log: follows it with the Merkle tree, and signs the tree after each batch.

It runs as the asynchronous projections do: behind the writers, who wait for nothing, up to the
safe position, one session at a time. It is no fold: salts are random, so what is sealed is never
made anew. Whatever the log holds is sealed, of types that this version does not know as well.
"""

import os
from collections.abc import Callable
from typing import Final

from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.horizon import safe_position
from reactorcide.eventstore.leaves import (
    SALT_BYTES,
    Leaf,
    RawEvent,
    Stretch,
    UnreadableData,
    read_raw,
)
from reactorcide.eventstore.merkle import Tree
from reactorcide.eventstore.signed_note import NoteBroken, Signer, TreeHead
from reactorcide.projections import checkpoints, sealed_log
from reactorcide.projections.sealed_log import Batch
from reactorcide.projections.subscription import Advanced, CannotFollow, Pace, UnknownType

NAME: Final = "sealed_tiles"
EVENTS_EACH: Final = 10_000

PACE: Final = Pace(interval_seconds=2.0, rest=2.0, short_rest=0.1, patient_seconds=1.0)


class LogSealer:
    """Follows the log with the tree, and signs with one key; see Follower.

    Keeps the edge of the tree between batches, and reads it anew whenever somebody else sealed.
    `announce` is told each checkpoint's tree size and note once it is committed. A log whose last
    checkpoint another key signed is refused, unless `is_key_new`.
    """

    name: Final = NAME

    def __init__(
        self,
        key: bytes,
        announce: Callable[[int, str], None],
        events_each: int = EVENTS_EACH,
        pace: Pace = PACE,
        *,
        is_key_new: bool = False,
    ) -> None:
        self._is_key_new = is_key_new
        self.pace = pace
        self._key = key
        self._announce = announce
        self._events_each = events_each
        self._signer: Signer | None = None
        self._tree: Tree | None = None
        self._position = 0

    async def advance(self, connection: Connection) -> Advanced:
        """Seal and sign the next batch; raises CannotFollow when the log has another key."""
        after = await checkpoints.position(connection, NAME)
        tree, self._tree = self._tree, None
        if tree is None or after != self._position:
            tree = await self._loaded(connection)
        settled = await safe_position(connection, after)
        found = _Found()
        if settled > after:
            stretch = Stretch(after, settled, self._events_each)
            await read_raw(connection, stretch, found.take)
        position = found.leaves[-1].position if found.leaves else after
        if found.leaves:
            await self._write(connection, tree, found, after)
        self._tree, self._position = tree, position
        if found.unreadable is None:
            return Advanced(position, is_behind=position < settled, stopped_by=None)
        await checkpoints.stop(connection, NAME, *found.unreadable)
        return Advanced(position, is_behind=False, stopped_by=found.unreadable)

    async def _write(self, connection: Connection, tree: Tree, found: "_Found", after: int) -> None:
        """Write the leaves, the tree, its signed checkpoint and ours, all or nothing."""
        assert self._signer is not None  # noqa: S101  made with the tree
        tiles = tree.append(b"".join([leaf.leaf_hash for leaf in found.leaves]))
        root = tree.root()
        note = self._signer.sign(TreeHead(self._signer.verifier.name, tree.size, root).text)
        batch = Batch(found.leaves, bytes(found.salts), tiles, tree.size, root, note)
        async with connection.transaction():
            await sealed_log.write(connection, batch)
            await checkpoints.move(connection, NAME, after, found.leaves[-1].position)
        self._announce(tree.size, note)

    async def _loaded(self, connection: Connection) -> Tree:
        """Read the edge of the tree, and see whether the log is ours to sign."""
        self._signer = signer = Signer(await sealed_log.origin(connection), self._key)
        for last in await sealed_log.newest(connection):
            try:
                signer.verifier.open(last.note)
            except NoteBroken as error:
                if not self._is_key_new:
                    detail = f"the log's last checkpoint has another key: {error}"
                    raise CannotFollow(detail) from None
            self._announce(last.tree_size, last.note)
        return await sealed_log.load(connection)


class _Found:
    """The leaves of a batch, up to the first event that can't be hashed."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.salts = bytearray()
        self.unreadable: UnknownType | None = None

    def take(self, events: list[RawEvent]) -> None:
        """Hash some events, each with a salt of its own."""
        salts = os.urandom(SALT_BYTES * len(events))
        at = 0
        for event in events:
            if self.unreadable is not None:
                return
            end = at + SALT_BYTES
            salt = salts[at:end]
            at = end
            try:
                self.leaves.append(event.leaf(salt))
            except UnreadableData as error:
                self.unreadable = UnknownType(error.position, error.wire_type)
            else:
                self.salts += salt
