"""Requests that differ in their args alone: what they share is looked at once.

A program submits the same few jobs over and over, with other args. What is not as plain as that,
or not right, is left to `asked`, which says what is wrong.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from pydantic_core import to_json

from reactorcide.api.errors import Problem
from reactorcide.api.jobs import asked
from reactorcide.api.jobs.asked import Asked, Refused
from reactorcide.api.jobs.requests import ARGS_BYTES, JobRequest, Seal
from reactorcide.api.jobs.submission import new_units
from reactorcide.api.json_body import parse_object
from reactorcide.eventstore.record import SYSTEM, Row
from reactorcide.projections import job_rows

_KEPT: Final = 200
_KEPT_LETTERS: Final = 2000
_PLAIN: Final = frozenset({str, int})
Key: TypeAlias = tuple[Hashable, ...]
_LOOKED_UP: Final = frozenset({"run_at", "unique_key", "depends_on"})
"""What concerns the time, or other jobs."""


class Filled(NamedTuple):
    """Requests as columns; as long as each other."""

    texts: list[str]
    """Their facts, as the log keeps them."""
    rows: list[Row]
    """What each job's row holds, but for its id."""


class Form(NamedTuple):
    """A request without its args."""

    text: str
    """The fact, but for the bracket behind it."""
    row: Row


class Forms:
    """The requests of one user, as far as they are alike."""

    def __init__(self, user_id: UUID, seal: Seal) -> None:
        self._user_id = user_id
        self._seal = seal
        self._known: dict[Key, Form] = {}

    def fill(self, requests: Iterable[Asked]) -> Filled | None:
        """Return the requests with their args; None when one of them is to be looked at itself.

        Nothing of what `requests` holds is kept or changed.
        """
        filled, args = Filled([], []), []
        last: Asked | None = None
        text, row = "", ()
        try:
            for one in requests:
                if one is not last:
                    if type(one) is not dict and isinstance(one, JobRequest):
                        return None
                    fields = {**one}
                    given = fields.pop("args", None)
                    if (form := self._form_of(fields)) is None:
                        return None
                    head, row = form
                    text = head + "}"
                    if given is not None:
                        args.append(written := to_json(given))
                        text = f'{head},"args":{written.decode()}}}'
                    last = one
                filled.texts.append(text)
                filled.rows.append(row)
            if args:
                _check(args)
        except (Problem, Refused, ValueError, RecursionError):
            return None
        return filled

    def _form_of(self, fields: Mapping[str, Any]) -> Form | None:
        """Return the request of these fields, which has no args. Raises Refused."""
        # With the types: a bool or a float may equal an int, and is none.
        key = (*fields.items(), *map(type, fields.values()))
        try:
            known = self._known.get(key)
        except TypeError:  # a list, or a dict
            return None
        return self._made(key, fields) if known is None else known

    def _made(self, key: Key, fields: Mapping[str, Any]) -> Form | None:
        """Look at a request once for all that are like it."""
        given = {name: value for name, value in fields.items() if value is not None}
        if _LOOKED_UP & given.keys() or any(type(one) not in _PLAIN for one in given.values()):
            return None
        request = asked.one(given)
        if request.handler is None:  # a command takes no args
            return None
        submitted = request.submitted(self._user_id, self._seal)
        ((append, change),) = new_units([submitted], [False], SYSTEM)
        (event,) = append.events
        form = Form(event.data.removesuffix("}"), job_rows.new_row(change))
        if len(form.text) <= _KEPT_LETTERS:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = form
        return form


def _check(args: Sequence[bytes]) -> None:
    """Raise ValueError or Problem when one of them can't be taken."""
    if max(map(len, args)) > ARGS_BYTES:
        raise ValueError
    parse_object(b'{"args":[' + b",".join(args) + b"]}")
