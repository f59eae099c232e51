"""What the tests of exports share: where files are asked for, a file, and some history."""

from typing import Any, Final

from reactorcide.api.exports.export import TO_POSITION
from reactorcide.api.exports.formats import FORMATS, FormatName
from reactorcide.api.services import Services
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import Client
from reactorcide.tests.api.test_audit import submitted

PATH: Final = "/api/v1/audit/export"
MANIFEST: Final = f"{PATH}/manifest"
NAMES: Final = tuple(FORMATS)

# Events of 7 KB, and their rows in the trail, as they would stand after a while.
MANY: Final = """
INSERT INTO events (
    event_id, stream_type, stream_id, version, type, schema_version, data, actor_type
)
SELECT
    gen_random_uuid(), 'worker', gen_random_uuid(), 1, 'worker.stopped', 1,
    jsonb_build_object('reason', repeat(md5(n::text), 200)), 'system'
FROM generate_series(1, $1) AS n"""


async def exported(client: Client, name: FormatName, **query: Any) -> tuple[bytes, int]:
    """Return a file, and up to where it goes."""
    answer = await client.get(PATH, params={"format": name, **query})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == FORMATS[name].media_type
    return answer.content, int(answer.headers[TO_POSITION])


async def some_history(services: Services, user: Client) -> None:
    """Let some things happen, by a user, a worker and the system."""
    first = await submitted(user, **{"User-Agent": "=cmd|'/C calc'!A0"})
    await work.run(services, first["job_id"])
    await submitted(user)
