"""The API on a database of its own, and callers of every role."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import httpx2
import pytest

from reactorcide.api.accounts import TokenRequest, issue_token, user_named
from reactorcide.api.app import create_app
from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore.record import SYSTEM
from reactorcide.projections import audit_exports
from reactorcide.tests.api.calling import KINDS, Caller, calling
from reactorcide.tests.api.serving import serving

Client: TypeAlias = httpx2.AsyncClient
MakeClient: TypeAlias = Callable[..., Awaitable[Client]]

JOB: dict[str, Any] = {"name": "hello", "job_command": "echo hello"}


@pytest.fixture
def settings(database_uri: str) -> ApiSettings:
    """What the API of a test is told; tests may `replace` parts of it."""
    return ApiSettings(
        database_uri=database_uri,
        secret_key=bytes(32),
        pool_size=5,
        accesses_seconds=86_400,  # tests say when
        trail_patience_seconds=30,
    )


@pytest.fixture
async def services(settings: ApiSettings) -> AsyncIterator[Services]:
    """The services of a running API."""
    async with open_services(settings) as opened:
        yield opened


@asynccontextmanager
async def client_of(services: Services, token: str | None) -> AsyncIterator[Client]:
    """A client of the app, with a token or without."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # As a server does: what escapes the app is a test's failure, not an answer.
    transport = httpx2.ASGITransport(create_app(services))
    async with Client(transport=transport, base_url="http://api", headers=headers) as client:
        yield client


async def token_for(
    services: Services, username: str, *roles: str, scopes: tuple[str, ...] | None = None
) -> tuple[str, UUID]:
    """Return a token of a user with these roles, and the user's id."""
    async with services.pool.acquire() as connection:
        user = await user_named(connection, username, roles or ("user",), SYSTEM)
        expires_at = datetime.now(UTC) + timedelta(days=1)
        request = TokenRequest(user.user_id, "test", scopes, expires_at)
        return (await issue_token(connection, request, SYSTEM)).text, user.user_id


@pytest.fixture
async def anonymous(services: Services) -> AsyncIterator[Client]:
    """A client without a token."""
    async with client_of(services, None) as client:
        yield client


@pytest.fixture
async def user(services: Services) -> AsyncIterator[Client]:
    """A plain user's client."""
    token, _ = await token_for(services, "una")
    async with client_of(services, token) as client:
        yield client


@pytest.fixture
async def stranger(services: Services) -> AsyncIterator[Client]:
    """Another plain user's client."""
    token, _ = await token_for(services, "strange")
    async with client_of(services, token) as client:
        yield client


@pytest.fixture
async def auditor(services: Services) -> AsyncIterator[Client]:
    """An auditor's client."""
    token, _ = await token_for(services, "audrey", "auditor")
    async with client_of(services, token) as client:
        yield client


@pytest.fixture
async def operator(services: Services) -> AsyncIterator[Client]:
    """An operator's client."""
    token, _ = await token_for(services, "oskar", "operator")
    async with client_of(services, token) as client:
        yield client


@pytest.fixture
async def admin(services: Services) -> AsyncIterator[Client]:
    """An admin's client."""
    token, _ = await token_for(services, "ada", "admin")
    async with client_of(services, token) as client:
        yield client


@pytest.fixture
async def url(services: Services) -> AsyncIterator[str]:
    """A real server's."""
    async with serving(services) as address:
        yield address


@dataclass(frozen=True)
class Place:
    """A served API, and a plain user's token."""

    url: str
    token: str


@pytest.fixture
async def place(services: Services, url: str) -> Place:
    """A served API, for clients."""
    token, _ = await token_for(services, "una")
    return Place(url, token)


@pytest.fixture(params=KINDS)
async def caller(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[Caller]:
    """A client of each kind."""
    async with calling(request.param, place.url, place.token) as made:
        yield made


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page have few events, or few bytes."""
    monkeypatch.setattr(audit_exports, "EVENTS_EACH", 3)
    monkeypatch.setattr(audit_exports, "BYTES_EACH", 400)
