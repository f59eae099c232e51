"""Secrets in a submission are sealed: nobody reads them in answers, events or tables."""

import json

import pytest

from reactorcide.api.services import Services
from reactorcide.tests.api.conftest import JOB, Client


async def test_secret_values_are_sealed_and_shown_as_stars(
    services: Services, user: Client
) -> None:
    """Not in an answer, not in the log, not in the table; the worker can open them."""
    answer = await user.post(
        "/api/v1/jobs",
        json={
            **JOB,
            "job_env_vars": {"TOKEN": "open sesame", "PLAIN": "1"},
            "secret_env_vars": ["TOKEN"],
        },
    )
    made = answer.json()
    assert made["job_env_vars"] == {"TOKEN": "***", "PLAIN": "1"}
    assert made["secret_env_vars"] == ["TOKEN"]
    path = f"/api/v1/jobs/{made['job_id']}"
    events = await user.get(f"{path}/events")
    for text in (answer.text, (await user.get(path)).text, events.text):
        assert "sesame" not in text
    assert events.json()["events"][0]["data"]["sealed_env_vars"] == {"TOKEN": "***"}
    kept: list[str] = []
    for sql in (
        "SELECT jobs::text FROM jobs",
        "SELECT data::text FROM events",
        "SELECT data::text FROM events WHERE type = 'job.submitted'",
    ):
        kept = [row[0] for row in await services.pool.fetch(sql)]
        assert not any("sesame" in text for text in kept)
    submitted = json.loads(kept[0])
    assert services.sealer.open(submitted["sealed_env_vars"]["TOKEN"], "TOKEN") == "open sesame"


@pytest.mark.parametrize(
    ("url", "shown", "secret"),
    [
        (
            "https://me:open%20sesame@example.org:8443/a.git",
            "https://example.org:8443/a.git",
            "sesame",
        ),
        ("https://sesame0token@example.org/a.git", "https://example.org/a.git", "sesame"),
        ("ssh://git:sesame@example.org/a.git", "ssh://git@example.org/a.git", "sesame"),
        ("ssh://git@example.org/a.git", "ssh://git@example.org/a.git", None),
        ("https://example.org/a@b.git", "https://example.org/a@b.git", None),
    ],
)
async def test_the_credentials_of_a_git_url_are_sealed(
    services: Services, user: Client, url: str, shown: str, secret: str | None
) -> None:
    """The URL is kept without them; they are no variable of the job."""
    answer = await user.post("/api/v1/jobs", json={**JOB, "source_type": "git", "git_url": url})
    made = answer.json()
    assert (made["git_url"], made["job_env_vars"], made["secret_env_vars"]) == (shown, {}, [])
    kept = await services.pool.fetch(
        "SELECT data::text AS data FROM events WHERE type = 'job.submitted'"
    )
    kept += await services.pool.fetch("SELECT jobs::text AS data FROM jobs")
    assert not any("sesame" in row["data"] for row in kept)
    sealed = json.loads(kept[0]["data"]).get("sealed_env_vars", {})
    assert bool(sealed) is (secret is not None)
    if secret:
        assert secret in services.sealer.open(sealed["=git_url"], "=git_url")
