"""The container image and what runs around it, read as text."""

import fnmatch
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions: the word, and the rest with its lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [
        (line.split(maxsplit=1)[0], line.split(maxsplit=1)[1])
        for line in lines
        if line and not line.startswith("#")
    ]


def last_stage() -> list[tuple[str, str]]:
    """Return the instructions of which the result is made."""
    found = instructions()
    start = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def compose() -> dict[str, Any]:
    """Return compose.yaml."""
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return parsed


def test_it_runs_as_a_plain_user() -> None:
    """By number, so that an engine can see that it is not root."""
    users = [rest for word, rest in last_stage() if word == "USER"]
    assert users == ["10001:10001"]


def test_it_tells_whether_it_is_well() -> None:
    """The command that asks the API is the product's own."""
    checks = [rest for word, rest in last_stage() if word == "HEALTHCHECK"]
    assert len(checks) == 1
    assert '["reactorcide", "healthcheck"]' in checks[0]


def test_its_arguments_are_commands() -> None:
    """Without any it serves; `worker` and `migrate up` are given as they are typed."""
    last = dict(last_stage())
    assert last["ENTRYPOINT"] == '["reactorcide"]'
    assert last["CMD"] == '["serve", "--host", "0.0.0.0"]'


def test_nothing_is_fetched_that_no_lock_names() -> None:
    """No ADD of an address, and every install by digest."""
    words = instructions()
    assert "ADD" not in {word for word, _ in words}
    assert not [
        rest for word, rest in words if word == "RUN" and ("curl" in rest or "wget" in rest)
    ]
    installs = [rest for word, rest in words if word == "RUN" and "pip install" in rest]
    assert all("--no-deps" in rest for rest in installs)
    assert "--require-hashes" in installs[0]


def test_nothing_that_builds_is_in_the_result() -> None:
    """The last stage takes one folder of the first, and removes pip."""
    last = last_stage()
    assert [rest.split()[0] for word, rest in last if word == "COPY"] == ["--from=build"]
    assert any("uninstall" in rest for word, rest in last if word == "RUN")
    assert not any("build-essential" in rest or "gcc" in rest for _, rest in last)


@pytest.mark.parametrize(
    "path", [".git", ".venv", "tests", "benchmarks", ".env", "docs", "compose.yaml", ".ci"]
)
def test_what_is_no_part_of_it_does_not_go_in(path: str) -> None:
    """The ignore file lets in a list, so what comes later stays out too."""
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    let_in = [pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")]
    assert not any(fnmatch.fnmatch(path, pattern) for pattern in let_in)


def test_what_the_package_is_made_of_goes_in() -> None:
    """Every room, and what the build reads."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    rooms = {"api", "cli", "eventstore", "migrations", "projections", "worker"}
    assert let_in == rooms | {"pyproject.toml", "requirements.lock", "README.md", "LICENSE"}


def test_compose_starts_all_parts() -> None:
    """A database, its schema, the API and two workers."""
    services = compose()["services"]
    assert set(services) == {"postgres", "migrate", "api", "worker-1", "worker-2"}
    assert services["migrate"]["command"] == ["migrate", "up"]
    for name in ("api", "worker-1", "worker-2"):
        condition = services[name]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully"


def test_compose_holds_no_secret() -> None:
    """Both come from outside, and their absence is an error, not an empty password."""
    services = compose()["services"]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith(
        "${POSTGRES_PASSWORD:?"
    )
    keys = {
        services[name]["environment"]["REACTORCIDE_SECRET_KEY"]
        for name in ("api", "worker-1", "worker-2")
    }
    assert len(keys) == 1
    assert keys.pop().startswith("${REACTORCIDE_SECRET_KEY:?")
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_compose_opens_the_api_to_this_machine_alone() -> None:
    """Whoever wants more says so."""
    services = compose()["services"]
    assert services["api"]["ports"] == ["127.0.0.1:6080:6080"]
    assert not any("ports" in service for name, service in services.items() if name != "api")
