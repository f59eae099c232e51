"""The secret values of one attempt, opened: what its command gets, and what nobody else may see.

Lives as long as the attempt; says nothing of where the values come from.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from reactorcide.eventstore.domain.git_url import SEALED_NAME, hidden_parts
from reactorcide.eventstore.domain.job import Failed, Outcome
from reactorcide.worker.masking import Masker, Patterns

_QUICK_LETTERS: Final = 2_000
"""So much is made ready for searching in some milliseconds."""


class Secrets:
    """Values by their names; a name that holds `=` is no variable's. Made by `open_all`."""

    __slots__ = ("__weakref__", "_patterns", "values")

    def __init__(self, values: Mapping[str, str], patterns: Patterns | None) -> None:
        self.values = values
        self._patterns = patterns

    def __repr__(self) -> str:
        """Show names, never values."""
        return f"Secrets({', '.join(self.values)})"

    @property
    def variables(self) -> dict[str, str]:
        """What belongs to the command's environment."""
        return {name: value for name, value in self.values.items() if "=" not in name}

    def masker(self) -> Masker:
        """Return what hides the values in one stream."""
        return Masker(self._patterns)

    def hide(self, text: str) -> str:
        """Return a text without the values."""
        return self.hide_bytes(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def hide_bytes(self, text: bytes) -> bytes:
        """Return bytes without the values; as they are where there is none."""
        return text if self._patterns is None else self._patterns.hide(text)

    def hide_in(self, outcome: Outcome) -> Outcome:
        """Return an outcome whose words hold none of the values."""
        if self._patterns is None or not isinstance(outcome, Failed):
            return outcome
        return replace(outcome, error=self.hide(outcome.error))


NO_SECRETS: Final = Secrets(MappingProxyType({}), None)


async def open_all(values: Mapping[str, str]) -> Secrets:
    """Return the values with what is needed to hide them; long ones are prepared in a thread."""
    if not values:
        return NO_SECRETS
    hidden = [value for name, value in values.items() if name != SEALED_NAME]
    hidden += hidden_parts(values.get(SEALED_NAME, ""))
    if sum(map(len, hidden)) <= _QUICK_LETTERS:
        return Secrets(values, Patterns(hidden))
    return Secrets(values, await asyncio.to_thread(Patterns, hidden))
