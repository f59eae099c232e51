"""Requests that differ in their args alone: what they share is looked at once.

A program submits the same few jobs over and over, with other args. What is not as plain as that,
or not right, is left to `asked`, which says what is wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from pydantic_core import to_json

from reactorcide.api.errors import Problem
from reactorcide.api.jobs import asked
from reactorcide.api.jobs.asked import Asked, Refused
from reactorcide.api.jobs.requests import ARGS_BYTES, JobRequest, Seal
from reactorcide.api.json_body import parse_object
from reactorcide.eventstore.codec import written
from reactorcide.eventstore.domain.events import JobSubmitted

_KEPT: Final = 200
_KEPT_LETTERS: Final = 2000
_PLAIN: Final = frozenset({str, int})  # a bool or a float may equal an int, and is none
Key: TypeAlias = tuple[tuple[str, str | int], ...]
_LOOKED_UP: Final = frozenset({"run_at", "unique_key", "depends_on"})
"""What concerns the time, or other jobs."""


class Filled(NamedTuple):
    """A request as the log keeps it, and that as JSON."""

    submitted: JobSubmitted
    text: str


class Forms:
    """The requests of one user, as far as they are alike."""

    def __init__(self, user_id: UUID, seal: Seal) -> None:
        self._user_id = user_id
        self._seal = seal
        self._known: dict[Key, Filled] = {}

    def fill(self, requests: Sequence[Asked]) -> list[Filled] | None:
        """Return the requests with their args; None when one of them is to be looked at itself.

        Nothing of what `requests` holds is kept or changed.
        """
        forms, texts = [], []
        try:
            for one in requests:
                if isinstance(one, JobRequest) or (form := self._form_of(one)) is None:
                    return None
                forms.append(form)
                texts.append(to_json(one.get("args")))
            if max(map(len, texts)) > ARGS_BYTES:
                return None
            args = parse_object(b'{"args":[' + b",".join(texts) + b"]}")["args"]
        except (Problem, Refused, ValueError, RecursionError):
            return None
        return [
            form if given is None else _with_args(form, given, text)
            for form, given, text in zip(forms, args, texts, strict=True)
        ]

    def _form_of(self, fields: Mapping[str, Any]) -> Filled | None:
        """Return the request without its args."""
        key = []
        for name, value in fields.items():
            if value is not None and name != "args":
                if type(value) not in _PLAIN:
                    return None
                key.append((name, value))
        known = self._known.get(tuple(key))
        return self._made(tuple(key), fields) if known is None else known

    def _made(self, key: Key, fields: Mapping[str, Any]) -> Filled | None:
        """Look at a request once for all that are like it. Raises Refused."""
        if any(name in _LOOKED_UP for name, _ in key):
            return None
        request = asked.one({**fields, "args": None})
        if request.handler is None:  # a command takes no args
            return None
        submitted = request.submitted(self._user_id, self._seal)
        _, _, text = written(submitted)
        form = Filled(submitted, text)
        if len(text) <= _KEPT_LETTERS:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = form
        return form


def _with_args(form: Filled, args: Any, text: bytes) -> Filled:  # noqa: ANN401  JSON of any kind
    return Filled(form.submitted.with_args(args), f'{form.text[:-1]},"args":{text.decode()}}}')
