"""The formats of an export: how one event of the trail is written, and what comes before all.

A format is a pure function of the event: the same event is the same bytes, whoever asks and
wherever the file begins, so that a file can be put together from parts, and its digest be made
again. Each record ends a line, and carries its position.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from pydantic_core import to_json

from reactorcide.api.exports.cloudevents import cloud_event
from reactorcide.api.exports.ocsf import api_activity
from reactorcide.api.jobs.render import render_event
from reactorcide.projections.audit_exports import Audited

FormatName: TypeAlias = Literal["ndjson", "csv", "ocsf", "cloudevents"]

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv; charset=utf-8; header=present"

CSV_COLUMNS: Final = (
    *("position", "recorded_at", "type", "outcome", "stream_type", "stream_id", "version"),
    *("event_id", "actor_type", "actor_id", "token_id", "ip", "user_agent", "request_id"),
    *("correlation_id", "causation_id", "data"),
)
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


class NoRecord(Exception):  # noqa: N818  named by what is so, like the rejections
    """These bytes are not a whole record of the format."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a file is written."""

    media_type: str
    head: bytes
    """Before the first record."""
    record: Callable[[Audited, str], bytes]
    """From an event and the log's name (`reactorcide/<log id>`) to a whole record."""
    position: Callable[[bytes], int]
    """From a record to the event's position. Raises NoRecord."""


def _ndjson(audited: Audited, _log: str) -> bytes:
    return to_json(_shown(audited)) + b"\n"


def _shown(audited: Audited) -> dict[str, Any]:
    return {**render_event(audited.event), "outcome": audited.outcome}


def _ocsf(audited: Audited, log: str) -> bytes:
    return to_json(api_activity(_shown(audited), log)) + b"\n"


def _cloudevents(audited: Audited, log: str) -> bytes:
    return to_json(cloud_event(_shown(audited), log)) + b"\n"


def _csv(audited: Audited, _log: str) -> bytes:
    shown = _shown(audited)
    actor = shown["actor"]
    shown |= {"actor_type": actor["type"], "actor_id": actor["id"], "token_id": actor["token_id"]}
    shown["recorded_at"] = shown["recorded_at"].isoformat().replace("+00:00", "Z")
    shown["data"] = to_json(shown["data"]).decode()
    return _csv_line([_cell(shown[column]) for column in CSV_COLUMNS])


def _cell(value: object) -> str:
    """Return a cell that no spreadsheet takes for a formula: a quote before what would be one."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _csv_line(cells: list[str]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerow(cells)  # RFC 4180: CRLF, quotes only where needed
    return written.getvalue().encode()


def _position_in(*path: str) -> Callable[[bytes], int]:
    def position(record: bytes) -> int:
        try:
            found: Any = json.loads(record)
            for name in path:
                found = found[name]
            return int(found)
        except (ValueError, KeyError, TypeError):
            raise NoRecord from None

    return position


def _position_of_csv(record: bytes) -> int:
    try:
        return int(record.partition(b",")[0])
    except ValueError:
        raise NoRecord from None


FORMATS: Final[Mapping[FormatName, Format]] = MappingProxyType(
    {
        "ndjson": Format(NDJSON, b"", _ndjson, _position_in("position")),
        "csv": Format(CSV, _csv_line(list(CSV_COLUMNS)), _csv, _position_of_csv),
        "ocsf": Format(NDJSON, b"", _ocsf, _position_in("metadata", "sequence")),
        "cloudevents": Format(NDJSON, b"", _cloudevents, _position_in("sequence")),
    }
)
