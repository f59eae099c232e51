"""Whose address a request is counted under: X-Forwarded-For only from those who are trusted."""

from dataclasses import replace

import pytest

from reactorcide.api.client_address import address_of, parse_networks
from reactorcide.api.services import open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.tests.api.conftest import JOB, client_of, token_for


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("1.2.3.4", [], "", "1.2.3.4"),
        ("1.2.3.4", ["9.9.9.9"], "", "1.2.3.4"),
        ("1.2.3.4", ["9.9.9.9"], "10.0.0.0/8", "1.2.3.4"),
        ("10.0.0.1", ["9.9.9.9"], "10.0.0.1", "9.9.9.9"),
        ("10.0.0.1", ["6.6.6.6, 9.9.9.9"], "10.0.0.0/8", "9.9.9.9"),
        ("10.0.0.1", ["6.6.6.6, 9.9.9.9, 10.0.0.2"], "10.0.0.0/8", "9.9.9.9"),
        ("10.0.0.1", ["6.6.6.6", "9.9.9.9"], "10.0.0.0/8", "9.9.9.9"),
        ("10.0.0.1", ["nonsense"], "10.0.0.0/8", "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.0/8", "10.0.0.3"),
        ("::1", ["2001:db8::7"], "::1", "2001:db8::7"),
        ("::ffff:1.2.3.4", [], "", "1.2.3.4"),
        ("fe80::1%eth0", [], "", "fe80::1"),
        ("", [], "", None),
        (None, [], "", None),
        ("testclient", [], "", None),
    ],
)
def test_the_first_hop_that_is_not_trusted_is_the_client(
    peer: str | None, forwarded: list[str], trusted: str, expected: str | None
) -> None:
    """Read from the right: what a client writes itself stands on the left."""
    networks = parse_networks(trusted.split(",")) if trusted else ()
    assert address_of(peer, forwarded, networks) == expected


async def test_the_log_keeps_the_clients_address(settings: ApiSettings) -> None:
    """The one that a trusted proxy names."""
    trusting = replace(settings, trusted_proxies=parse_networks(["127.0.0.1"]))
    async with open_services(trusting) as services:
        token, _ = await token_for(services, "una")
        async with client_of(services, token) as client:
            headers = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}
            made = (await client.post("/api/v1/jobs", json=JOB, headers=headers)).json()
            events = (await client.get(f"/api/v1/jobs/{made['job_id']}/events")).json()["events"]
    assert {event["ip"] for event in events} == {"203.0.113.9"}
