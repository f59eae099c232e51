"""The root over leaves of which many are not there: whole subtrees are known by their own roots.

It keeps one hash for each size of subtree, and no leaf. How roots are made is `merkle`'s to say.
"""

from reactorcide.eventstore.merkle import inner_hash


class Peaks:
    """The roots of the whole subtrees that make up the leaves so far, the largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []

    def push(self, height: int, node: bytes) -> None:
        """Add the next 2**height leaves by their root. Raises ValueError where none can be."""
        if self.size % (1 << height):
            msg = "a skipped subtree begins where none can"
            raise ValueError(msg)
        self.size += 1 << height
        peaks = self._peaks
        while peaks and peaks[-1][0] == height:
            node = inner_hash(peaks.pop()[1], node)
            height += 1
        peaks.append((height, node))

    def root(self) -> bytes:
        """Return the root over all leaves; there must be one."""
        *others, (_, found) = self._peaks
        for _, peak in reversed(others):
            found = inner_hash(peak, found)
        return found
