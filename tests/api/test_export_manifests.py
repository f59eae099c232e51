"""A manifest speaks for a file of the audit trail: signed, and of that file alone."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from reactorcide.api.exports.formats import FORMATS, FormatName
from reactorcide.api.exports.manifest import Manifest
from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore.signed_note import NoteBroken, Signer, Verifier
from reactorcide.projections import sealed_log
from reactorcide.tests.api.conftest import Client, client_of, token_for
from reactorcide.tests.api.exporting import MANIFEST, NAMES, exported, some_history
from reactorcide.tests.api.test_audit import submitted
from reactorcide.tests.api.test_errors import problem


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    """An API that signs."""
    return replace(settings, log_key=bytes(range(32)))


@pytest.fixture
async def verifier(services: Services) -> Verifier:
    """The public half of the log's key."""
    key = services.settings.log_key
    assert key is not None
    return Signer(await sealed_log.origin(services.pool), key).verifier


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("name", NAMES)
async def test_the_manifest_speaks_for_the_file(
    services: Services, user: Client, auditor: Client, verifier: Verifier, name: FormatName
) -> None:
    """Also for one that was put together from parts; asked for at any later time."""
    await some_history(services, user)
    query: dict[str, Any] = {"type": "job.submitted", "since": "2020-01-01T00:00:00Z"}
    whole, to = await exported(auditor, name, **query)
    await submitted(user)
    answer = await auditor.get(MANIFEST, params={"format": name, "to": to, **query})
    assert answer.status_code == 200, answer.text
    said = Manifest.opened(answer.text, verifier)
    positions = [FORMATS[name].position(one) for one in whole.splitlines(keepends=True)[-2:]]
    assert (said.format, said.filters, said.after, said.to) == (name, query, None, to)
    assert (said.sha256, said.bytes) == (hashlib.sha256(whole).hexdigest(), len(whole))
    assert (said.count, [said.first_position, said.last_position]) == (2, positions)
    rest, _ = await exported(auditor, name, to=to, after=positions[0], **query)
    asked = {"format": name, "to": to, "after": positions[0], **query}
    part = Manifest.opened((await auditor.get(MANIFEST, params=asked)).text, verifier)
    assert (part.sha256, part.count) == (hashlib.sha256(rest).hexdigest(), 1)


async def test_a_manifest_of_nothing_is_one(auditor: Client, verifier: Verifier) -> None:
    """That nothing happened is worth a signature."""
    answer = await auditor.get(MANIFEST, params={"format": "ndjson", "to": "0"})
    said = Manifest.opened(answer.text, verifier)
    assert (said.count, said.first_position, said.bytes) == (0, None, 0)


async def test_a_manifest_that_was_changed_is_found_out(
    auditor: Client, verifier: Verifier
) -> None:
    """As is another key's, and a note of the same key that is none."""
    note = (await auditor.get(MANIFEST, params={"format": "csv", "to": "1"})).text
    with pytest.raises(NoteBroken):
        Manifest.opened(note.replace('"count":1', '"count":0'), verifier)
    other = Signer(verifier.name, bytes(32)).verifier
    with pytest.raises(NoteBroken):
        Manifest.opened(note, other)
    signer = Signer(verifier.name, bytes(range(32)))
    for text in (f"{verifier.name}\n3\nAAAA\n", f"{verifier.name}/export/v1\n{{}}\n"):
        with pytest.raises(NoteBroken):
            Manifest.opened(signer.sign(text), verifier)


async def test_a_manifest_needs_an_end(auditor: Client) -> None:
    """Without one it would be of another file than the one at hand."""
    refused = problem(await auditor.get(MANIFEST, params={"format": "csv"}), 422, "invalid_input")
    assert (refused["errors"][0]["pointer"], refused["errors"][0]["code"]) == ("/to", "missing")


async def test_without_a_key_nothing_is_signed(settings: ApiSettings) -> None:
    """And nothing looks as if it were."""
    async with open_services(replace(settings, log_key=None)) as services:
        token, _ = await token_for(services, "audrey", "auditor")
        async with client_of(services, token) as auditor:
            answer = await auditor.get(MANIFEST, params={"format": "csv", "to": "0"})
            assert problem(answer, 503, "unavailable")
