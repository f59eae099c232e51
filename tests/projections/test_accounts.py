"""Tables users, tokens and workers: found as they stand, and opened by what holds alone."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from reactorcide.eventstore.database import StatementRefused
from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.events import TokenIssued
from reactorcide.eventstore.domain.token import TOKEN, IssueToken, RevokeToken, RotateToken
from reactorcide.eventstore.domain.user import USER, ChangeRoles, DeactivateUser, RegisterUser
from reactorcide.eventstore.domain.worker import WORKER, DrainWorker, RegisterWorker, StopWorker
from reactorcide.eventstore.handle import Handled, TransactionDoor, handle
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM
from reactorcide.projections import leases, tokens, users, workers
from reactorcide.projections.paging import Page
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.domain.samples import WORKER_REGISTERED

HOUR: Final = timedelta(hours=1)
ROWS: Final[dict[str, Any]] = {
    "user": users.rows,
    "token": tokens.rows,
    "worker": workers.rows,
}


async def _tell(
    connection: Connection, decider: Decider[Any, Any, Any], stream_id: UUID, *commands: Any
) -> Handled[Any, Any]:
    door: TransactionDoor[Any] = TransactionDoor(connection, ROWS[decider.stream_type])
    handled = None
    for command in commands:
        handled = await handle(connection, door, decider, stream_id, command, SYSTEM)
    assert handled is not None
    return handled


async def _user(connection: Connection, *commands: Any, name: str = "ada") -> UUID:
    user_id = new_id()
    registered = RegisterUser(name, f"{name}@example.org", ("user", "operator"))
    await _tell(connection, USER, user_id, registered, *commands)
    return user_id


async def _token(
    connection: Connection, user_id: UUID, *commands: Any, expires_at: datetime | None = None
) -> tokens.Token:
    token_id = new_id()
    issued = TokenIssued(
        user_id=user_id,
        name="ci",
        token_hash=token_id.hex * 2,
        prefix="rct_abcd",
        scopes=("jobs:read",),
        expires_at=expires_at,
    )
    return tokens.after(await _tell(connection, TOKEN, token_id, IssueToken(issued), *commands))


async def test_a_user_is_read_as_the_command_left_it(connection: Connection) -> None:
    """By id and by name, whatever the case."""
    user_id = await _user(connection)
    changed = await _tell(connection, USER, user_id, ChangeRoles(("admin",)))
    assert users.after(changed) == await users.get(connection, user_id)
    assert users.after(changed).roles == ("admin",)
    assert await users.named(connection, "ADA") == users.after(changed)
    assert await users.get(connection, new_id()) is None


async def test_users_are_listed_newest_first(connection: Connection) -> None:
    """Those who were deactivated too."""
    first = await _user(connection)
    second = await _user(connection, DeactivateUser(), name="bob")
    listed = await users.list_page(connection, Page(limit=1))
    assert [user.user_id for user in listed.rows] == [second]
    assert not listed.rows[0].is_active
    assert (listed.total, listed.next_before) == (2, second)
    rest = await users.list_page(connection, Page(limit=1, before=second))
    assert [user.user_id for user in rest.rows] == [first]


async def test_names_and_addresses_are_taken_whatever_the_case(connection: Connection) -> None:
    """The append meets an index that says which of the two it is."""
    await _user(connection)
    for username, email, index in (
        ("ADA", None, "users_username"),
        ("bob", "ada@Example.ORG", "users_email"),
    ):
        with pytest.raises(StatementRefused) as refused:
            await _tell(connection, USER, new_id(), RegisterUser(username, email))
        assert refused.value.constraint == index
        assert index in users.UNIQUE


async def test_a_token_that_holds_opens_as_its_owner(connection: Connection) -> None:
    """Both as they stand."""
    user_id = await _user(connection)
    token = await _token(connection, user_id, expires_at=datetime.now(UTC) + HOUR)
    found = await tokens.authenticate(connection, token.token_hash)
    assert found is not None
    assert (found.token, found.user) == (token, await users.get(connection, user_id))
    assert token.holds_at(datetime.now(UTC))
    assert not token.holds_at(datetime.now(UTC) + 2 * HOUR)


async def test_whatever_does_not_hold_opens_nothing(connection: Connection) -> None:
    """Unknown, expired, revoked, replaced, or its owner deactivated: all alike."""
    user_id = await _user(connection)
    gone = await _user(connection, DeactivateUser(), name="bob")
    past = datetime.now(UTC) - HOUR
    for token in (
        await _token(connection, user_id, expires_at=past),
        await _token(connection, user_id, RevokeToken()),
        await _token(connection, user_id, RotateToken(new_id(), past)),
        await _token(connection, gone),
    ):
        assert await tokens.authenticate(connection, token.token_hash) is None
        assert await tokens.get(connection, token.token_id) == token
    assert await tokens.authenticate(connection, "0" * 64) is None


async def test_a_replaced_token_holds_for_the_overlap(connection: Connection) -> None:
    """And no longer once it is revoked as well."""
    successor, until = new_id(), datetime.now(UTC) + HOUR
    token = await _token(connection, await _user(connection), RotateToken(successor, until))
    assert (token.successor_id, token.revoked_at) == (successor, until)
    assert await tokens.authenticate(connection, token.token_hash) is not None
    await _tell(connection, TOKEN, token.token_id, RevokeToken())
    assert await tokens.authenticate(connection, token.token_hash) is None


async def test_own_tokens_are_listed_revoked_ones_included(connection: Connection) -> None:
    """Newest first, and nobody else's."""
    user_id, other = await _user(connection), await _user(connection, name="bob")
    first = await _token(connection, user_id)
    second = await _token(connection, user_id, RevokeToken())
    await _token(connection, other)
    listed = await tokens.list_page(connection, user_id, Page())
    assert listed.rows == (second, first)
    assert listed.total == 2


async def test_a_use_is_noted_once_a_minute(connection: Connection) -> None:
    """Many uses are one write; the next minute's is another."""
    token = await _token(connection, await _user(connection))
    await tokens.touch(connection, [token.token_id, token.token_id])
    first = await connection.fetchrow("SELECT xmin::text, last_used_at FROM token_uses")
    await tokens.touch(connection, [token.token_id])
    assert await connection.fetchrow("SELECT xmin::text, last_used_at FROM token_uses") == first
    await connection.execute("UPDATE token_uses SET last_used_at = now() - interval '2 minutes'")
    await tokens.touch(connection, [token.token_id])
    used = await tokens.get(connection, token.token_id)
    assert used is not None
    assert used.last_used_at is not None
    assert first is not None
    assert used.last_used_at >= first["last_used_at"]


async def test_a_worker_is_listed_with_its_last_beat(connection: Connection) -> None:
    """Registered, drained and stopped alike."""
    running, stopped = new_id(), new_id()
    await _tell(connection, WORKER, running, RegisterWorker(WORKER_REGISTERED), DrainWorker())
    handled = await _tell(
        connection, WORKER, stopped, RegisterWorker(WORKER_REGISTERED), StopWorker("SIGTERM")
    )
    await leases.beat(connection, running, [], 15)
    listed = await workers.list_page(connection, Page())
    assert [worker.worker_id for worker in listed.rows] == [stopped, running]
    assert listed.rows[0] == workers.after(handled)
    assert (listed.rows[1].status, listed.total) == ("draining", 2)
    assert listed.rows[1].beat_at is not None
    assert await workers.get(connection, running) == listed.rows[1]
    assert await workers.get(connection, new_id()) is None


@pytest.mark.parametrize(
    ("name", "index"), [("_AUTHENTICATE", "tokens_token_hash"), ("_LIST", "tokens_user")]
)
async def test_tokens_are_found_by_index(connection: Connection, name: str, index: str) -> None:
    """On every request, so with any number of tokens."""
    await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
    arguments = ["x"] if name == "_AUTHENTICATE" else [new_id(), None, 10, 0]
    plan = await connection.fetch("EXPLAIN " + getattr(tokens, name), *arguments)
    assert any(index in row[0] for row in plan)
