"""A user is registered, given roles, deactivated."""

import pytest

from reactorcide.eventstore.domain.errors import IllegalTransition, NotFound, NotLegal
from reactorcide.eventstore.domain.events import (
    UserDeactivated,
    UserRegistered,
    UserRolesChanged,
)
from reactorcide.eventstore.domain.user import (
    USER,
    ChangeRoles,
    DeactivateUser,
    RegisterUser,
    UserCommand,
    UserStatus,
)
from reactorcide.tests.eventstore.domain.given import Story
from reactorcide.tests.eventstore.domain.samples import REGISTERED

given = Story(USER).given


def test_a_user_is_registered() -> None:
    """As a plain user, when nothing else is said."""
    state = given().when(RegisterUser("ada")).then(REGISTERED)
    assert (state.status, state.registered, state.roles) == ("active", REGISTERED, ("user",))


def test_roles_are_kept_in_one_order() -> None:
    """Each once, so that the same roles are the same event."""
    command = RegisterUser("ada", "ada@example.org", ("admin", "user", "admin"))
    expected = UserRegistered(username="ada", email="ada@example.org", roles=("user", "admin"))
    given().when(command).then(expected)


def test_registering_the_same_again_adds_nothing() -> None:
    """The answer to the first may have been lost."""
    given(REGISTERED).when(RegisterUser("ada")).then()


def test_an_id_is_not_given_to_a_second_user() -> None:
    """Another user under the same id is refused."""
    given(REGISTERED).when(RegisterUser("bob")).refused(NotLegal)


def test_roles_change() -> None:
    """The new ones replace the old ones."""
    changed = UserRolesChanged(roles=("operator", "admin"))
    state = given(REGISTERED).when(ChangeRoles(("admin", "operator"))).then(changed)
    assert state.roles == ("operator", "admin")


def test_the_same_roles_again_add_nothing() -> None:
    """In whatever order they are named."""
    history = (REGISTERED, UserRolesChanged(roles=("operator", "admin")))
    given(*history).when(ChangeRoles(("admin", "operator"))).then()


def test_a_user_is_deactivated() -> None:
    """It keeps its roles on paper."""
    state = given(REGISTERED).when(DeactivateUser()).then(UserDeactivated())
    assert (state.status, state.roles) == (UserStatus.INACTIVE, ("user",))


def test_deactivating_again_adds_nothing() -> None:
    """Inactive is inactive."""
    given(REGISTERED, UserDeactivated()).when(DeactivateUser()).then()


def test_a_deactivated_user_gets_no_roles() -> None:
    """The refusal says why."""
    done = given(REGISTERED, UserDeactivated())
    assert done.when(ChangeRoles(("admin",))).refused(NotLegal).current_status == "inactive"


@pytest.mark.parametrize("command", [ChangeRoles(("admin",)), DeactivateUser()])
def test_a_user_that_is_not_there_cannot_change(command: UserCommand) -> None:
    """There is no such user."""
    assert given().when(command).refused(NotFound).kind == "user"


def test_a_corrupt_history_is_told() -> None:
    """Nothing follows a deactivation."""
    with pytest.raises(IllegalTransition, match=r"user\.roles_changed does not follow user inact"):
        given(REGISTERED, UserDeactivated(), UserRolesChanged(roles=("admin",)))
