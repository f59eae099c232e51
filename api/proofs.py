"""Operations on the sealed log: signed checkpoints, proofs, tiles. They change nothing.

Hashes are in base64, as in checkpoints; `entry` is the text that a leaf's hash is of.
"""

import asyncio
import base64
import re
from dataclasses import asdict
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field
from starlette.responses import Response

from reactorcide.api.audit import ROLES, cursor_of, number_cursor, number_of
from reactorcide.api.call import Call, json_answer
from reactorcide.api.errors import absent, forbidden, invalid_field, unavailable
from reactorcide.api.fields import RequestModel
from reactorcide.api.pages import PageQuery, QueryInt
from reactorcide.api.services import Services
from reactorcide.eventstore import store
from reactorcide.eventstore.leaves import RawEvent, Stretch, read_raw
from reactorcide.eventstore.merkle import TileId
from reactorcide.eventstore.signed_note import Signer
from reactorcide.projections import checkpoints, sealed_log, sealer
from reactorcide.projections.sealed_log import Place, SignedCheckpoint

OCTETS: Final = "application/octet-stream"

_SEALED_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.05
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_LEVELS: Final = 8
_TILES_EACH: Final = 256

TreeSize = Annotated[QueryInt, Field(ge=1, le=2**63 - 1)]


class CheckpointQuery(PageQuery):
    """Which part of the list: as everywhere, with cursors of its own."""

    cursor: Annotated[str, AfterValidator(number_cursor)] | None = None


class ProofQuery(RequestModel):
    """Against which tree; without it: that of the newest checkpoint."""

    tree_size: TreeSize | None = None


class ConsistencyQuery(RequestModel):
    """Which two trees, by their sizes."""

    first: TreeSize
    second: TreeSize | None = None
    """Without it: that of the newest checkpoint."""


class TileQuery(RequestModel):
    """Which tiles of the level."""

    first: Annotated[QueryInt, Field(ge=0, le=2**55)] = 0
    count: Annotated[QueryInt, Field(ge=1, le=_TILES_EACH)] = _TILES_EACH


async def list_checkpoints(call: Call[None, CheckpointQuery]) -> Response:
    """List what was signed, the largest tree first."""
    _check_role(call)
    query, pool = call.query, call.services.pool
    below = None if query.cursor is None else number_of(query.cursor)
    found = await sealed_log.newest(pool, query.limit + 1, below, query.offset)
    page = found[: query.limit]
    content = {
        "checkpoints": [_rendered(one) for one in page],
        "total": None,
        "limit": query.limit,
        "offset": query.offset,
        "next_cursor": cursor_of(page[-1].tree_size) if len(found) > query.limit else None,
        "verifier_key": await _verifier_key(call.services),
    }
    return json_answer(content)


async def seal_now(call: Call[None, None]) -> Response:
    """Wait until everything that is committed by now is sealed; answer with the checkpoint."""
    _check_role(call)
    services = call.services
    committed, _ = await store.present(services.pool)
    services.doorbell.ring("events")
    clock = asyncio.get_running_loop().time
    deadline = clock() + _SEALED_SECONDS
    while await checkpoints.position(services.pool, sealer.NAME) < committed:
        if clock() >= deadline:
            (standing,) = await checkpoints.standings(services.pool, [sealer.NAME])
            detail = f"The log is sealed up to position {standing.position} only: {standing.why}"
            raise unavailable(detail)
        await asyncio.sleep(_LOOK_SECONDS)
    newest = await _newest(services)
    return json_answer({**_rendered(newest), "verifier_key": await _verifier_key(services)})


async def prove_inclusion(call: Call[None, ProofQuery]) -> Response:
    """Prove that the event at a position is in the signed tree."""
    _check_role(call)
    pool, position = call.services.pool, _number(call, "position")
    newest = await _newest(call.services)
    place = await _place_of(call.services, position, newest)
    size = call.query.tree_size or newest.tree_size
    if not place.leaf_index < size <= newest.tree_size:
        message = f"Must be from {place.leaf_index + 1} to {newest.tree_size}"
        raise invalid_field(pointer="/tree_size", code="tree_size", message=message)
    signed = await sealed_log.signed(pool, size)
    proof = await sealed_log.inclusion(pool, place.leaf_index, size)
    content = {
        "position": position,
        "leaf_index": place.leaf_index,
        "leaf_hash": _base64(place.leaf_hash),
        "entry": await _entry(call.services, position, place),
        "tree_size": size,
        "root": _base64(signed.root if signed else await sealed_log.root_at(pool, size)),
        "proof": [_base64(one) for one in proof],
        "checkpoint": signed.note if signed else None,
    }
    return json_answer(content)


async def prove_consistency(call: Call[None, ConsistencyQuery]) -> Response:
    """Prove that the tree of one checkpoint begins with that of an older one."""
    _check_role(call)
    pool, query = call.services.pool, call.query
    newest = await _newest(call.services)
    size = query.second or newest.tree_size
    for pointer, value, most in (
        ("/second", size, newest.tree_size),
        ("/first", query.first, size),
    ):
        if value > most:
            message = f"Must not be greater than {most}"
            raise invalid_field(pointer=pointer, code="tree_size", message=message)
    old, new = [await sealed_log.signed(pool, one) for one in (query.first, size)]
    content = {
        "first": query.first,
        "second": size,
        "proof": [_base64(one) for one in await sealed_log.consistency(pool, query.first, size)],
        "first_checkpoint": old.note if old else None,
        "second_checkpoint": new.note if new else None,
    }
    return json_answer(content)


async def read_tiles(call: Call[None, TileQuery]) -> Response:
    """Answer with the hashes of some tiles in a row, 32 bytes each."""
    _check_role(call)
    level, query = _number(call, "level"), call.query
    if level >= _LEVELS:
        detail = f"No tree has a level {level}"
        raise absent(detail)
    wanted = [TileId(level, query.first + nth) for nth in range(query.count)]
    found = await sealed_log.tiles(call.services.pool, wanted)
    hashes = b"".join([found[one] for one in wanted if one in found])
    return Response(hashes, media_type=OCTETS)


def _check_role(call: Call[Any, Any]) -> None:
    if ROLES.isdisjoint(call.caller.roles):
        raise forbidden(detail="Only an auditor or admin sees the sealed log")


def _number(call: Call[Any, Any], name: str) -> int:
    """Return a number of the path. Raises Problem."""
    text: str = call.request.path_params[name]
    if not _NUMBER.fullmatch(text):
        raise invalid_field(pointer=f"/{name}", code="int_parsing", message="Must be a number")
    return int(text)


async def _newest(services: Services) -> SignedCheckpoint:
    found = await sealed_log.newest(services.pool)
    if not found:
        raise absent("Nothing is sealed yet")
    return found[0]


async def _place_of(services: Services, position: int, newest: SignedCheckpoint) -> Place:
    """Return where an event is in the tree, or say why it is not there."""
    place = await sealed_log.place_of(services.pool, position)
    if place is not None and place.leaf_index < newest.tree_size:
        return place
    last, _ = await store.present(services.pool)
    if position > last:
        message = f"Lies in the future: the last event has position {last}"
        raise invalid_field(pointer="/position", code="in_the_future", message=message)
    if position > newest.last_position:
        detail = f"Position {position} is not sealed yet: the log is, up to {newest.last_position}"
        raise absent(detail)
    detail = f"No event has position {position}"
    raise absent(detail)


async def _entry(services: Services, position: int, place: Place) -> str | None:
    """Return the leaf's entry; None when the event is not in the log's table any more."""
    found: list[RawEvent] = []
    async with services.pool.acquire() as connection:
        await read_raw(connection, Stretch(position - 1, position, 1), found.extend)
    return found[0].entry(place.payload_hash).decode() if found else None


async def _verifier_key(services: Services) -> str | None:
    """Return the key that verifies what this process would sign."""
    key = services.settings.log_key
    if key is None:
        return None
    return Signer(await sealed_log.origin(services.pool), key).verifier.text


def _rendered(one: SignedCheckpoint) -> dict[str, Any]:
    return {**asdict(one), "root": _base64(one.root)}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
