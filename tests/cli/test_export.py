"""`audit export`: a file that is whole, whatever broke on the way, and signed for."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from reactorcide.api.exports.formats import FORMATS, FormatName
from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.cli import exporting
from reactorcide.cli.client import Client
from reactorcide.cli.exits import Stop
from reactorcide.cli.export_check import check
from reactorcide.cli.exporting import Done, Export, last_record, manifest_of
from reactorcide.eventstore.signed_note import Signer, signing_key
from reactorcide.projections import sealed_log
from reactorcide.tests.api.conftest import token_for
from reactorcide.tests.api.cut_line import cut_line
from reactorcide.tests.api.exporting import MANY
from reactorcide.tests.api.serving import serving
from reactorcide.tests.api.test_export_formats import LOG, audited
from reactorcide.tests.cli.program import Program
from reactorcide.tests.conftest import Connection

KEY: Final = bytes(range(32))
NAMES: Final = tuple(FORMATS)


@pytest.fixture
async def services(database_uri: str, connection: Connection) -> AsyncIterator[Services]:
    """An API that signs, with some history."""
    await connection.execute(MANY, 100)
    settings = ApiSettings(database_uri=database_uri, secret_key=bytes(32), log_key=KEY)
    async with open_services(settings) as opened:
        yield opened


@pytest.fixture
async def token(services: Services) -> str:
    """An auditor's token."""
    text, _ = await token_for(services, "audrey", "auditor")
    return text


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(exporting, "_PAUSE_SECONDS", 0)


async def exported(url: str, token: str, path: Path, **query: Any) -> Done:
    """Export in a thread: the server of a test runs in the test's own loop."""
    client = Client(url, token)
    try:
        export = Export(client, query, path, lambda _position, _to: None)
        return await asyncio.to_thread(export.run)
    finally:
        client.close()


async def present(services: Services) -> str:
    """Return a time after all that is recorded so far; exports are recorded themselves."""
    now: datetime = await services.pool.fetchval("SELECT clock_timestamp()")
    return now.isoformat().replace("+00:00", "Z")


async def public_key(services: Services) -> str:
    """Return the key as other tools take it."""
    return Signer(await sealed_log.origin(services.pool), KEY).verifier.text


def names_in(directory: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(one.name for one in directory.iterdir())


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_gets_whole_however_often_the_line_breaks(
    services: Services, token: str, tmp_path: Path, name: FormatName
) -> None:
    """Byte for byte what it would have been, and nothing of the work is left."""
    path, until = tmp_path / "trail", await present(services)
    async with serving(services) as url, cut_line(url, [100, 50_000, 300_000, 900, 1200]) as line:
        done = await exported(line.url, token, path, format=name, until=until)
        again = await exported(url, token, tmp_path / "again", format=name, until=until)
    assert line.connections > 5
    assert done.events == again.events
    assert path.read_bytes() == (tmp_path / "again").read_bytes()
    assert names_in(tmp_path) == ["again", "again.manifest", "trail", "trail.manifest"]
    said = check(path, None, await public_key(services))
    assert (said.count, said.to) == done


async def test_a_file_is_gone_on_with_by_the_next_run(
    services: Services, token: str, tmp_path: Path, connection: Connection
) -> None:
    """Up to where it went when it began; another wish is not mixed into it."""
    path, until = tmp_path / "trail.csv", await present(services)
    async with serving(services) as url, cut_line(url, [400_000] + [0] * 9) as line:
        whole = tmp_path / "whole"
        expected = await exported(url, token, whole, format="csv", until=until)
        with pytest.raises(Stop) as stopped:
            await exported(line.url, token, path, format="csv", until=until)
        assert stopped.value.exit_code == 3
        assert not path.exists()
        await connection.execute(MANY, 5)
        with pytest.raises(Stop) as refused:
            await exported(url, token, path, format="csv", type="job.submitted")
        assert refused.value.exit_code == 2
        done = await exported(url, token, path, format="csv", until=until)
    assert done.events == expected.events
    assert path.read_bytes() == whole.read_bytes()


async def test_a_part_that_was_spoilt_is_found_out(
    services: Services, token: str, tmp_path: Path
) -> None:
    """The file gets its name only when it is what was signed for."""
    path = tmp_path / "trail"
    async with serving(services) as url, cut_line(url, [400_000] + [0] * 9) as line:
        with pytest.raises(Stop):
            await exported(line.url, token, path, format="ndjson")
        part = tmp_path / "trail.part"
        part.write_bytes(part.read_bytes().replace(b"worker.stopped", b"worker.started", 1))
        with pytest.raises(Stop) as stopped:
            await exported(url, token, path, format="ndjson")
    assert "not what the manifest was signed for" in stopped.value.message
    assert not path.exists()
    assert not manifest_of(path).exists()


async def test_a_file_that_was_changed_does_not_hold(
    services: Services, token: str, tmp_path: Path
) -> None:
    """Nor one whose manifest was changed, or signed by somebody else: exit 1; nothing there: 2."""
    path, key = tmp_path / "trail", await public_key(services)
    async with serving(services) as url:
        await exported(url, token, path, format="ndjson")
    content, note = path.read_bytes(), manifest_of(path).read_bytes()
    check(path, manifest_of(path), key)
    other = Signer(key.partition("+")[0], bytes(32)).verifier.text
    for tampered, signed, given, code in (
        (content.replace(b"worker", b"walker", 1), note, key, 1),
        (content[:-1], note, key, 1),
        (content + b"\n", note, key, 1),
        (content, note.replace(b'"count":', b'"count":1', 1), key, 1),
        (content, b"\xff", key, 1),
        (content, b"", key, 1),
        (content, note, other, 1),
        (content, note, "x", 2),
        (content, note, "x+y+z", 2),
    ):
        path.write_bytes(tampered)
        manifest_of(path).write_bytes(signed)
        with pytest.raises(Stop) as stopped:
            check(path, None, given)
        assert stopped.value.exit_code == code
    manifest_of(path).unlink()
    with pytest.raises(Stop) as stopped:
        check(path, None, key)
    assert stopped.value.exit_code == 2


@pytest.mark.parametrize("name", NAMES)
def test_the_last_whole_record_is_found(name: FormatName) -> None:
    """Wherever the file was cut, also within a line break that CSV has in quotes."""
    form = FORMATS[name]
    ones = [audited(position=nth, user_agent='a\r\nb,"\nc') for nth in (7, 8)]
    first, second = (form.record(one, LOG) for one in ones)
    content = form.head + first + second
    for end in range(len(content) + 1):
        expected: tuple[int, int | None] = (0, None)
        if end >= len(content):
            expected = len(content), 8
        elif end >= len(form.head + first):
            expected = len(form.head + first), 7
        elif end >= len(form.head):
            expected = len(form.head), None
        assert last_record(io.BytesIO(content[:end]), form) == expected


def test_an_export_is_made_and_checked_by_the_command(stack: Program, tmp_path: Path) -> None:
    """Into a file with its manifest, or to standard output; a typo is exit 2."""
    job_id = stack("submit", "--", "true").stdout.strip()
    assert stack("logs", job_id, "--follow").returncode == 0
    path = tmp_path / "trail.csv"
    asked = ("audit", "export", "--format", "csv", "--stream-id", job_id)
    done = stack(*asked, "--output-file", str(path))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "4 events up to position" in done.stderr
    assert path.read_bytes() == stack(*asked, encoding=None).stdout
    origin = manifest_of(path).read_text().partition("/export")[0]
    key = Signer(origin, signing_key(stack.home / "data" / "log.key")).verifier.text
    said = stack.json("audit", "check-export", str(path), "--public-key", key)
    assert (said["count"], said["filters"]) == (4, {"stream_id": job_id})
    path.write_bytes(path.read_bytes()[:-1])
    spoilt = stack("audit", "check-export", str(path), "--public-key", key)
    assert (spoilt.returncode, spoilt.stdout) == (1, "")
    refused = stack("audit", "export", "--type", "job.complete", "--output-file", str(path))
    assert refused.returncode == 2
    assert "did you mean job.completed?" in refused.stderr
    lines = stack("audit", "export", "--stream-id", job_id).stdout.splitlines()
    assert [json.loads(line)["type"] for line in lines][-1] == "job.completed"
