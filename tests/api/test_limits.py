"""Rates: per token, and of failures per address."""

from dataclasses import replace

import pytest

from reactorcide.api.limits import Limiter, Rate, Window
from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.api.tokens_text import new_token_text
from reactorcide.tests.api.conftest import Client, client_of, token_for
from reactorcide.tests.api.test_errors import problem


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the present moment."""
        return self.now


@pytest.mark.parametrize(("quantity", "window"), [(1, 1), (10, 60), (6000, 60), (7, 3)])
def test_the_whole_quantity_may_come_at_once_and_no_more(quantity: int, window: int) -> None:
    """Then one per interval."""
    clock = Clock()
    limiter: Limiter[str] = Limiter("default", Rate(quantity, window), clock)
    verdicts = [limiter.take("a") for _ in range(quantity + 5)]
    assert [verdict.is_allowed for verdict in verdicts] == [True] * quantity + [False] * 5
    assert verdicts[0].remaining == quantity - 1
    assert verdicts[-1].remaining == 0
    assert limiter.take("b").is_allowed
    clock.now += window / quantity
    assert limiter.take("a").is_allowed
    assert not limiter.take("a").is_allowed
    clock.now += window
    assert limiter.take("a").remaining == quantity - 1


def test_a_refusal_says_when_to_come_back() -> None:
    """And coming back then is allowed."""
    clock = Clock()
    limiter: Limiter[str] = Limiter("default", Rate(2, 60), clock)
    limiter.take("a")
    limiter.take("a")
    refused = limiter.take("a")
    assert (refused.is_allowed, refused.retry_after_seconds) == (False, 30)
    clock.now += refused.retry_after_seconds
    assert limiter.take("a").is_allowed


def test_idle_keys_are_forgotten() -> None:
    """However many addresses ask."""
    clock = Clock()
    limiter: Limiter[int] = Limiter("default", Rate(60, 60), clock)
    for key in range(10_000):
        limiter.take(key)
    clock.now += 61
    limiter.take(-1)
    assert len(limiter._full_at) == 1  # noqa: SLF001 - what it holds is the claim


def test_a_window_allows_so_many_however_slowly_they_come() -> None:
    """The sixty-first within a minute of the first is refused; after the minute it starts anew."""
    now = 1000.0
    window: Window[str] = Window("failures", Rate(60, 60), lambda: now)
    for _ in range(60):
        assert window.take("a").is_allowed
        now += 0.99
    refused = window.take("a")
    assert (refused.is_allowed, refused.retry_after_seconds) == (False, 1)
    assert window.take("b").is_allowed
    now += 1
    assert window.take("a").is_allowed


async def test_too_many_requests_of_a_token_are_429(settings: ApiSettings) -> None:
    """With the three headers; another token is another matter."""
    limited = replace(settings, rate_limit=Rate(3, 60))
    async with open_services(limited) as services:
        first, _ = await token_for(services, "una")
        second, _ = await token_for(services, "una")
        async with client_of(services, first) as una, client_of(services, second) as other:
            for left in (2, 1, 0):
                answer = await una.get("/api/v1/me")
                assert answer.status_code == 200
                assert answer.headers["ratelimit-policy"] == '"default";q=3;w=60'
                assert answer.headers["ratelimit"].startswith(f'"default";r={left};t=')
            answer = await una.get("/api/v1/me")
            problem(answer, 429, "rate_limited")
            assert 1 <= int(answer.headers["retry-after"]) <= 20
            assert answer.headers["ratelimit"].startswith('"default";r=0;t=')
            assert answer.headers["ratelimit-policy"] == '"default";q=3;w=60'
            assert (await other.get("/api/v1/me")).status_code == 200
            assert (await una.get("/livez")).status_code == 200


async def test_no_limit_is_no_limit(settings: ApiSettings) -> None:
    """`off` lifts the limit of tokens."""
    async with open_services(replace(settings, rate_limit=None)) as services:
        token, _ = await token_for(services, "una")
        async with client_of(services, token) as client:
            answer = await client.get("/api/v1/me")
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers


async def test_the_sixty_first_failure_in_a_minute_is_429(
    services: Services, anonymous: Client, user: Client
) -> None:
    """Per address; a missing header is none, and a token that holds still does."""
    for _ in range(70):
        problem(await anonymous.get("/api/v1/me"), 401, "unauthorized")
    for nth in range(60):
        text = new_token_text().text if nth % 2 else "nonsense"
        headers = {"Authorization": f"Bearer {text}"}
        problem(await anonymous.get("/api/v1/me", headers=headers), 401, "unauthorized")
    refused = await anonymous.get("/api/v1/me", headers={"Authorization": "Bearer nonsense"})
    problem(refused, 429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit-policy"] == '"failures";q=60;w=60'
    assert (await user.get("/api/v1/me")).status_code == 200
    assert services.settings.failures_limit == Rate(60, 60)
