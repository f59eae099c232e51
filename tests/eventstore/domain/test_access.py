"""Roles open scopes, tokens narrow them, and nobody hands on more than it has."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactorcide.eventstore.domain.access import (
    ROLE_SCOPES,
    ROLES,
    SCOPES,
    Giver,
    Grant,
    check_grant,
    in_order,
    scopes_of,
)
from reactorcide.eventstore.domain.errors import NotGranted
from reactorcide.tests.eventstore.domain.samples import LATER, OWNER

OTHER = UUID(int=99)
ADMIN = Giver(OTHER, ("admin",), scopes_of(("admin",), None))
PLAIN = Giver(OWNER, ("user",), scopes_of(("user",), None))

some_roles = st.lists(st.sampled_from(ROLES)).map(tuple)
some_scopes = st.lists(st.sampled_from(SCOPES)).map(tuple)


def test_every_role_has_its_scopes() -> None:
    """And none that is no scope."""
    assert set(ROLE_SCOPES) == set(ROLES)
    assert frozenset(SCOPES) == frozenset().union(*ROLE_SCOPES.values())


def test_an_admin_may_do_everything() -> None:
    """All scopes there are."""
    assert ROLE_SCOPES["admin"] == frozenset(SCOPES)


def test_an_auditor_reads_and_changes_nothing() -> None:
    """Every one of its scopes is for reading."""
    assert all(scope.endswith(":read") for scope in ROLE_SCOPES["auditor"])
    assert "audit:read" in ROLE_SCOPES["auditor"]


def test_only_auditors_and_admins_read_the_audit_trail() -> None:
    """It shows what others did."""
    assert {role for role in ROLES if "audit:read" in ROLE_SCOPES[role]} == {"auditor", "admin"}


def test_an_operator_may_do_what_a_user_may_and_keeps_the_machines() -> None:
    """Queues and workers, but no users."""
    extra = ROLE_SCOPES["operator"] - ROLE_SCOPES["user"]
    assert ROLE_SCOPES["operator"] > ROLE_SCOPES["user"]
    assert extra == {"queues:manage", "workers:manage"}


def test_a_token_without_scopes_has_all_of_its_owners() -> None:
    """Several roles add up."""
    expected = ROLE_SCOPES["user"] | ROLE_SCOPES["auditor"]
    assert scopes_of(("user", "auditor"), None) == expected


def test_a_token_has_no_scope_that_its_owner_lost() -> None:
    """Roles may change after a token was made."""
    assert scopes_of(("user",), ("jobs:read", "users:manage")) == {"jobs:read"}


def test_a_token_with_an_empty_list_opens_nothing() -> None:
    """No scopes is not the same as all."""
    assert scopes_of(("admin",), ()) == frozenset()


def test_an_unknown_role_allows_nothing() -> None:
    """A later version may have written it."""
    assert scopes_of(("emperor",), None) == frozenset()
    assert in_order(("emperor", "admin", "user")) == ("user", "admin")


def test_a_user_makes_a_token_for_itself() -> None:
    """All it has, or some of it."""
    check_grant(PLAIN, Grant(OWNER, ("user",), None, LATER))
    check_grant(PLAIN, Grant(OWNER, ("user",), ("jobs:read",), LATER))


def test_an_admin_makes_a_token_for_another_that_never_expires() -> None:
    """Both are the admin's alone."""
    check_grant(ADMIN, Grant(OWNER, ("user",), None, None))


def test_a_user_makes_no_token_for_another() -> None:
    """Not even a narrow one."""
    with pytest.raises(NotGranted, match="for others"):
        check_grant(PLAIN, Grant(OTHER, ("user",), ("jobs:read",), LATER))


def test_a_user_makes_no_token_that_never_expires() -> None:
    """Nobody would remember it."""
    with pytest.raises(NotGranted, match="never expire"):
        check_grant(PLAIN, Grant(OWNER, ("user",), None, None))


def test_nobody_gives_a_scope_that_the_owner_lacks() -> None:
    """It would open nothing; saying so is kinder."""
    with pytest.raises(NotGranted) as caught:
        check_grant(ADMIN, Grant(OWNER, ("user",), ("users:manage", "audit:read"), LATER))
    assert caught.value.what == "may not give audit:read users:manage"


def test_a_narrow_token_does_not_make_a_wide_one() -> None:
    """Naming no scopes asks for all of them."""
    narrow = Giver(OWNER, ("user",), frozenset({"tokens:manage"}))
    check_grant(narrow, Grant(OWNER, ("user",), ("tokens:manage",), LATER))
    with pytest.raises(NotGranted, match="jobs:write"):
        check_grant(narrow, Grant(OWNER, ("user",), None, LATER))


@given(some_roles, st.none() | some_scopes, st.none() | some_scopes, st.booleans())
def test_what_is_given_is_never_more_than_the_giver_has(
    roles: tuple[str, ...],
    held: tuple[str, ...] | None,
    asked: tuple[str, ...] | None,
    for_itself: bool,  # noqa: FBT001  hypothesis draws it
) -> None:
    """For all roles, all tokens in hand and all wishes."""
    giver = Giver(OWNER, roles, scopes_of(roles, held))
    grant = Grant(OWNER if for_itself else OTHER, roles, asked, LATER)
    try:
        check_grant(giver, grant)
    except NotGranted:
        return
    assert scopes_of(roles, asked) <= giver.scopes
    assert for_itself or "admin" in roles
