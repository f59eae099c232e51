"""A token is issued, replaced, revoked."""

from datetime import timedelta
from uuid import UUID

import pytest

from reactorcide.eventstore.domain.errors import IllegalTransition, NotFound, NotLegal
from reactorcide.eventstore.domain.events import TokenEvent, TokenRevoked, TokenRotated
from reactorcide.eventstore.domain.token import (
    TOKEN,
    IssueToken,
    RevokeToken,
    RotateToken,
    TokenCommand,
    TokenStatus,
)
from reactorcide.tests.eventstore.domain.given import Story
from reactorcide.tests.eventstore.domain.samples import ISSUED, LATER, NOW

given = Story(TOKEN).given

SUCCESSOR = UUID(int=9)
ROTATED = TokenRotated(successor_id=SUCCESSOR, valid_until=NOW)
REVOKED = TokenRevoked()


def test_a_token_is_issued() -> None:
    """It is active from then on."""
    state = given().when(IssueToken(ISSUED)).then(ISSUED)
    assert (state.status, state.issued) == (TokenStatus.ACTIVE, ISSUED)


def test_issuing_the_same_again_adds_nothing() -> None:
    """The answer to the first may have been lost."""
    given(ISSUED).when(IssueToken(ISSUED)).then()


def test_an_id_is_not_given_to_a_second_token() -> None:
    """Another token under the same id is refused."""
    other = ISSUED.model_copy(update={"name": "other"})
    assert given(ISSUED).when(IssueToken(other)).refused(NotLegal).current_status == "active"


@pytest.mark.parametrize("history", [(ISSUED,), (ISSUED, ROTATED)])
def test_a_token_is_revoked(history: tuple[TokenEvent, ...]) -> None:
    """Also one that lives on for its overlap."""
    state = given(*history).when(RevokeToken()).then(REVOKED)
    assert state.status is TokenStatus.REVOKED


def test_revoking_again_adds_nothing() -> None:
    """Revoked is revoked."""
    given(ISSUED, REVOKED).when(RevokeToken()).then()


def test_a_token_is_rotated() -> None:
    """It names its successor and holds for the overlap."""
    state = given(ISSUED).when(RotateToken(SUCCESSOR, NOW)).then(ROTATED)
    assert (state.status, state.successor_id) == (TokenStatus.ROTATED, SUCCESSOR)
    assert state.valid_until == NOW


def test_an_overlap_does_not_outlive_the_token() -> None:
    """Rotation may shorten a life, never lengthen it."""
    beyond = RotateToken(SUCCESSOR, LATER + timedelta(hours=1))
    assert given(ISSUED).when(beyond).state.valid_until == ISSUED.expires_at


def test_a_token_without_expiry_keeps_the_whole_overlap() -> None:
    """There is nothing sooner."""
    for_ever = ISSUED.model_copy(update={"expires_at": None})
    assert given(for_ever).when(RotateToken(SUCCESSOR, LATER)).state.valid_until == LATER


def test_rotating_to_the_same_successor_adds_nothing() -> None:
    """The answer to the first may have been lost."""
    given(ISSUED, ROTATED).when(RotateToken(SUCCESSOR, LATER)).then()


@pytest.mark.parametrize(
    ("history", "status"), [((ISSUED, ROTATED), "rotated"), ((ISSUED, REVOKED), "revoked")]
)
def test_a_token_that_is_done_is_not_rotated(history: tuple[TokenEvent, ...], status: str) -> None:
    """It has one successor, or none."""
    command = RotateToken(UUID(int=10), NOW)
    assert given(*history).when(command).refused(NotLegal).current_status == status


@pytest.mark.parametrize("command", [RevokeToken(), RotateToken(SUCCESSOR, NOW)])
def test_a_token_that_is_not_there_cannot_end(command: TokenCommand) -> None:
    """There is no such token."""
    assert given().when(command).refused(NotFound).kind == "token"


def test_a_corrupt_history_is_told() -> None:
    """Nothing follows a revocation."""
    with pytest.raises(IllegalTransition, match=r"token\.rotated does not follow token revoked"):
        given(ISSUED, REVOKED, ROTATED)
