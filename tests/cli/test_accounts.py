"""`user` and `token`: the first ones straight in the database, the rest through the API."""

from datetime import UTC, datetime, timedelta

import pytest

from reactorcide.tests.cli.program import Program


def test_a_token_makes_its_user(stack: Program) -> None:
    """With the contract's five fields, and it opens the API."""
    made = stack.json(
        "token", "create", "--user", "carol", "--role", "operator", "--role", "auditor",
        "--name", "laptop", "--expires-in", "12h",
    )  # fmt: skip
    assert list(made) == ["token_id", "token", "user_id", "name", "expires_at"]
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=11, minutes=50) < left <= timedelta(hours=12)
    me = stack.having(API_TOKEN=made["token"]).json("token", "check")
    assert me["user"]["user_id"] == made["user_id"]
    assert set(me["user"]["roles"]) == {"operator", "auditor"}
    assert (me["token"]["token_id"], me["token"]["name"]) == (made["token_id"], "laptop")


def test_another_token_keeps_the_user(stack: Program) -> None:
    """A role that it hasn't is not given on the way, and we say so."""
    first = stack.json("token", "create", "--user", "dave")
    done = stack("token", "create", "--user", "DAVE", "--role", "admin")
    assert done.returncode == 0
    assert "was there already" in done.stderr
    me = stack.having(API_TOKEN=done.stdout.strip()).json("token", "check")
    assert me["user"]["user_id"] == first["user_id"]
    assert me["user"]["roles"] == ["user"]


def test_a_token_with_scopes_opens_no_more(stack: Program) -> None:
    """Exit 4 for what is beyond them."""
    token = stack("token", "create", "--user", "erin", "--scope", "jobs:read").stdout.strip()
    client = stack.having(API_TOKEN=token)
    assert client("jobs", "list").returncode == 0
    assert client("submit", "--", "true").returncode == 4


def test_tokens_are_listed_rotated_and_revoked(stack: Program) -> None:
    """By their owner, through the API."""
    made = stack.json("token", "create", "--user", "frank")
    client = stack.having(API_TOKEN=made["token"])
    rotated = client.json("token", "rotate", made["token_id"], "--overlap", "15m")
    successor = stack.having(API_TOKEN=rotated["token"])
    listed = successor.json("token", "list")["tokens"]
    assert [token["token_id"] for token in listed] == [rotated["token_id"], made["token_id"]]
    assert client("token", "check").returncode == 0
    assert successor("token", "revoke", made["token_id"]).returncode == 0
    assert client("token", "check").returncode == 4
    assert successor("token", "revoke", rotated["token_id"]).returncode == 0
    assert successor("token", "check").returncode == 4


def test_users_are_made_listed_changed_and_deactivated(stack: Program) -> None:
    """The first through the database, the rest through the API."""
    made = stack.json(
        "user", "create", "grace", "--email", "grace@example.org", "--role", "auditor"
    )
    assert (made["username"], made["roles"], made["is_active"]) == ("grace", ["auditor"], True)
    user_id = made["user_id"]
    assert stack.json("user", "get", user_id) == made
    assert user_id in [user["user_id"] for user in stack.json("user", "list")["users"]]
    changed = stack.json("user", "set-roles", user_id, "user", "operator")
    assert set(changed["roles"]) == {"user", "operator"}
    assert stack.json("user", "deactivate", user_id)["is_active"] is False
    assert stack("token", "create", "--user", "grace").returncode == 6


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("user", "create", "ROOT"), 6),
        (("user", "create", " padded "), 2),
        (("user", "create", "heidi", "--email", "no address"), 2),
        (("user", "create", "heidi", "--role", "king"), 2),
        (("user", "get", "nobody"), 5),
        (("token", "create"), 2),
        (("token", "create", "--user", ""), 2),
        (("token", "create", "--user", "heidi", "--scope", "jobs:eat"), 2),
        (("token", "create", "--user", "heidi", "--expires-in", "soon"), 2),
        (("token", "create", "--user", "heidi", "--name", "n" * 256), 2),
        (("token", "revoke", "nothing"), 5),
    ],
)
def test_what_is_wrong_is_told(stack: Program, arguments: tuple[str, ...], expected: int) -> None:
    """By the exit code and on standard error; nothing is made."""
    done = stack(*arguments)
    assert done.returncode == expected, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "heidi" not in stack("user", "list").stdout


def test_no_token_is_exit_4(stack: Program) -> None:
    """With a hint how to come by one; a wrong one is the same code."""
    done = stack.having(API_TOKEN="")("jobs", "list")
    assert done.returncode == 4
    assert "reactorcide token create" in done.stderr
    wrong = {"API_TOKEN": "rct_wrong"}
    assert stack.having(**wrong)("jobs", "list").returncode == 4
