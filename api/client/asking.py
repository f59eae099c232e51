"""One request to its answer, asked again where that is safe. A program: sends nothing itself.

Repeated are requests that may be sent twice, when no answer came, on 502, 503, 504 and 429 (at
the earliest after Retry-After), and while the first of them is still being answered. Four times
at most, and all within the timeout.
"""

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from reactorcide.api.client.errors import (
    Conflict,
    NotUnderstood,
    RateLimited,
    Refused,
    Unavailable,
    error_of,
)
from reactorcide.api.client.steps import Answer, Ask, Pause, Program, Request

_TRIES: Final = 4
_FIRST_PAUSE_SECONDS: Final = 0.25
_IN_FLIGHT: Final = "in_flight"

M = TypeVar("M", bound=BaseModel)


def ask(
    request: Request,
    timeout_seconds: float,
    *,
    is_so: Callable[[Refused], bool] = lambda _: False,
) -> Program[Answer]:
    """Return the answer. Raises Unavailable, Refused.

    `is_so` tells which refusals of a repeated request mean that the first one was obeyed: their
    answer is empty.
    """
    deadline = time.monotonic() + timeout_seconds
    tries = 0
    while True:
        reply = yield Ask(request, max(deadline - time.monotonic(), 0.001))
        error = error_of(reply)
        if isinstance(reply, Answer) and error is None:
            return reply
        if isinstance(error, Refused) and tries and is_so(error):
            return Answer()
        tries += 1
        seconds = None if tries == _TRIES or not request.is_repeatable else pause(error, tries)
        if error is not None and (seconds is None or time.monotonic() + seconds >= deadline):
            raise error
        yield Pause(seconds or 0.0)


def pause(error: Unavailable | Refused | None, tries: int) -> float | None:
    """Return how long to wait after so many tries (full jitter); None: it would be in vain."""
    match error:
        case Unavailable() | RateLimited():
            least = error.retry_after_seconds or 0.0
        case Conflict() if error.current_status == _IN_FLIGHT:
            least = 0.0
        case _:
            return None
    longest = _FIRST_PAUSE_SECONDS * 2 ** (tries - 1)
    return least + random.uniform(0, longest)  # noqa: S311 - jitter


def read(kind: type[M], answer: Answer | bytes | str) -> M:
    """Return the answer's value. Raises NotUnderstood."""
    content = answer.content if isinstance(answer, Answer) else answer
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = f"the answer is not this API's {kind.__name__}: {first['loc']} {first['msg']}"
        raise NotUnderstood(reason) from None
