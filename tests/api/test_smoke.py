"""The thin path: a job is submitted and read back."""

from reactorcide.tests.api.conftest import JOB, Client


async def test_a_submitted_job_is_read_back(user: Client) -> None:
    """What POST answered, GET answers."""
    made = await user.post("/api/v1/jobs", json=JOB)
    assert made.status_code == 201, made.text
    again = await user.get(made.headers["location"])
    assert again.status_code == 200
    assert again.json() == made.json()
    for path in ["/api/health", "/metrics", "/openapi.json", "/docs", "/api/v1/me", "/api/v1/jobs"]:
        answer = await user.get(path)
        assert answer.status_code == 200, answer.text
