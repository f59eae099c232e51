"""What the client raises: for refusals, for no good token, for an API that is not there."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from reactorcide.api.client import (
    ClientError,
    InvalidInput,
    Job,
    JobRequest,
    NotAuthenticated,
    NotFound,
    NotUnderstood,
    RateLimited,
    Unavailable,
)
from reactorcide.api.limits import Rate
from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.tests.api import work
from reactorcide.tests.api.calling import KINDS, Caller, Kind, calling
from reactorcide.tests.api.conftest import Place, token_for
from reactorcide.tests.api.serving import serving

JOB = JobRequest(name="hello", job_command="echo hello")


async def test_a_refusal_says_what_is_wrong_where(caller: Caller) -> None:
    """As fields, not only as text."""
    with pytest.raises(InvalidInput) as refused:
        await caller.call("submit", name="", job_command="true", timeout_seconds=0)
    error = refused.value
    assert (error.status, error.error) == (422, "invalid_input")
    assert {flaw.pointer for flaw in error.errors} == {"/name", "/timeout_seconds"}
    assert error.request_id is not None
    assert error.request_id in str(error)
    assert error.message in str(error)
    with pytest.raises(InvalidInput) as malformed:
        await caller.call("submit", **JOB, idempotency_key="\x7f")
    assert malformed.value.status == 400
    with pytest.raises(NotFound):
        await caller.call("get", uuid4())
    with pytest.raises(ValueError, match="badly formed"):
        await caller.call("get", "../me")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", [None, "rct_nonsense"])
async def test_without_a_good_token_nothing_is_told(
    place: Place, kind: Kind, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One error, whatever is wrong with it."""
    monkeypatch.delenv("REACTORCIDE_API_TOKEN", raising=False)
    async with calling(kind, place.url, token) as caller:
        with pytest.raises(NotAuthenticated):
            await caller.call("me")
        with pytest.raises(NotAuthenticated):
            await caller.items("follow_logs", uuid4())


@pytest.mark.parametrize("kind", KINDS)
async def test_the_environment_is_read_when_a_client_is_made(
    place: Place, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given beats it; an address that is none is refused at once."""
    monkeypatch.setenv("REACTORCIDE_API_URL", place.url + "/")
    monkeypatch.setenv("REACTORCIDE_API_TOKEN", place.token + "\n")
    caller = kind(None, None, 30.0)
    assert (await caller.call("me")).user.username == "una"
    await caller.close()
    monkeypatch.setenv("REACTORCIDE_API_URL", "localhost:6080")
    with pytest.raises(ValueError, match="http or https"):
        kind(None, None, 30.0)
    with pytest.raises(ValueError, match="the token holds"):
        kind(place.url, "a\nb", 30.0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_rate_limit_is_waited_for_where_that_is_safe(
    settings: ApiSettings, kind: Kind
) -> None:
    """At least as long as the API says; what may not be sent twice is refused to the caller."""
    async with (
        open_services(replace(settings, rate_limit=Rate(2, 2))) as services,
        serving(services) as url,
        calling(kind, url, (await token_for(services, "una"))[0]) as caller,
    ):
        job: Job = await caller.call("submit", **JOB)
        await work.run(services, str(job.job_id))
        await caller.call("me")
        began = asyncio.get_running_loop().time()
        await caller.call("me")
        assert asyncio.get_running_loop().time() - began >= 0.9
        calls = [caller.call("retry", job.job_id) for _ in range(3)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        limited = [end for end in ends if isinstance(end, RateLimited)]
        assert [end.retry_after_seconds for end in limited][:1] == [1]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_api_without_its_database_is_unavailable(
    services: Services, place: Place, kind: Kind
) -> None:
    """With the time to come back; the error is raised when there is no time for that."""
    await services.pool.close()
    async with calling(kind, place.url, place.token, timeout_seconds=0.5) as caller:
        with pytest.raises(Unavailable) as away:
            await caller.call("me")
        assert away.value.retry_after_seconds == 1


async def test_an_answer_of_something_else_is_not_understood(place: Place) -> None:
    """Another program at the address."""
    async with calling(KINDS[1], place.url + "/docs?", place.token) as caller:
        with pytest.raises(ClientError) as strange:
            await caller.call("me")
        assert isinstance(strange.value, NotUnderstood)
