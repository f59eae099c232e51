"""The sealed log over HTTP: checkpoints, proofs that hold, and clear words where there is none."""

import base64
import json
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

import pytest

from reactorcide.api.audit_views import (
    AuditListView,
    CheckpointListView,
    ConsistencyView,
    ProofView,
    SealedView,
)
from reactorcide.api.services import Services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore import merkle
from reactorcide.eventstore.signed_note import TreeHead, Verifier
from reactorcide.projections import sealer
from reactorcide.tests.api.conftest import JOB, Client
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.projections.test_sealer import FILL

AUDIT: Final = "/api/v1/audit"


@pytest.fixture
def settings(database_uri: str) -> ApiSettings:
    """An API that seals."""
    return ApiSettings(database_uri, secret_key=bytes(32), pool_size=5, log_key=b"k" * 32)


async def sealed(client: Client) -> dict[str, Any]:
    """Seal up to now; return the checkpoint."""
    answer = await client.post(f"{AUDIT}/checkpoints")
    assert answer.status_code == 200, answer.text
    SealedView.model_validate_json(answer.content)
    content: dict[str, Any] = answer.json()
    return content


def hashes(texts: list[str]) -> list[bytes]:
    """Return hashes that an answer has in base64."""
    return [base64.b64decode(text) for text in texts]


def head_of(note: str, verifier_key: str) -> TreeHead:
    """Return what a checkpoint says, once its signature holds."""
    return TreeHead.parse(Verifier.parse(verifier_key).open(note))


async def test_an_event_is_shown_with_its_payload_hash(user: Client, auditor: Client) -> None:
    """For who asks: null until it is sealed, then the one in its leaf."""
    job = (await user.post("/api/v1/jobs", json=JOB)).json()
    query = {"stream_id": job["job_id"], "hashes": "true"}
    early = (await auditor.get(f"{AUDIT}/events", params=query)).json()["events"]
    await sealed(auditor)
    answer = await auditor.get(f"{AUDIT}/events", params=query)
    AuditListView.model_validate_json(answer.content)
    for before, event in zip(early, answer.json()["events"], strict=True):
        proof = (await auditor.get(f"{AUDIT}/proof/{event['position']}")).json()
        assert event["payload_hash"] == json.loads(proof["entry"])["payload_hash"]
        assert before["payload_hash"] in {None, event["payload_hash"]}
    plain = (await auditor.get(f"{AUDIT}/events", params={"stream_id": job["job_id"]})).json()
    assert all("payload_hash" not in event for event in plain["events"])
    assert (await auditor.get(f"{AUDIT}/events", params={"hashes": "1"})).status_code == 422


async def test_an_event_is_proved_to_be_in_the_signed_log(
    services: Services, user: Client, auditor: Client
) -> None:
    """From its entry to the signature, by what the answers hold alone."""
    job = (await user.post("/api/v1/jobs", json=JOB)).json()
    events = (await user.get(f"/api/v1/jobs/{job['job_id']}/events")).json()["events"]
    checkpoint = await sealed(auditor)
    await services.pool.execute(FILL, 300)
    newer = await sealed(auditor)
    for event in events:
        for query in ({}, {"tree_size": checkpoint["tree_size"]}):
            answer = await auditor.get(f"{AUDIT}/proof/{event['position']}", params=query)
            ProofView.model_validate_json(answer.content)
            proof = answer.json()
            entry = json.loads(proof["entry"])
            assert {name: entry[name] for name in ("event_id", "type", "stream_id")} == {
                name: event[name] for name in ("event_id", "type", "stream_id")
            }
            leaf = sha256(b"\0" + proof["entry"].encode()).digest()
            head = head_of(proof["checkpoint"], newer["verifier_key"])
            place = proof["leaf_index"], proof["tree_size"], leaf
            assert merkle.is_included(*place, hashes(proof["proof"]), head.root)
            assert base64.b64decode(proof["leaf_hash"]) == leaf
            assert base64.b64decode(proof["root"]) == head.root
            assert proof["tree_size"] == query.get("tree_size", newer["tree_size"])


async def test_checkpoints_are_listed_and_consistent(services: Services, admin: Client) -> None:
    """The largest tree first, by pages; each is proved to begin with the one before."""
    for _ in range(3):
        await services.pool.execute(FILL, 100)
        await sealed(admin)
    path = f"{AUDIT}/checkpoints"
    everything = (await admin.get(path)).json()
    CheckpointListView.model_validate(everything)
    listed = everything["checkpoints"]
    sizes = [one["tree_size"] for one in listed]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) >= 3
    paged: list[dict[str, Any]] = []
    cursor = None
    while cursor or not paged:
        query = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = (await admin.get(path, params=query)).json()
        paged += page["checkpoints"]
        cursor = page["next_cursor"]
    assert paged == listed
    assert (await admin.get(path, params={"offset": 1})).json()["checkpoints"] == listed[1:]
    for newer, older in pairwise(listed):
        query = {"first": older["tree_size"], "second": newer["tree_size"]}
        answer = (await admin.get(f"{AUDIT}/consistency", params=query)).json()
        ConsistencyView.model_validate(answer)
        assert answer["second_checkpoint"] == newer["note"]
        heads = [head_of(one["note"], everything["verifier_key"]) for one in (older, newer)]
        first, second = heads
        proof = hashes(answer["proof"])
        trees = first.tree_size, second.tree_size
        assert merkle.is_consistent(*trees, first.root, second.root, proof)
        assert not merkle.is_consistent(*trees, second.root, first.root, proof)


async def test_where_there_is_no_proof_the_answer_says_why(
    services: Services, auditor: Client
) -> None:
    """Not sealed yet, no event, in the future, no number, no such tree: each in its words."""
    await services.pool.execute("SELECT nextval('events_position_seq')")
    await services.pool.execute(FILL, 2)
    checkpoint = await sealed(auditor)
    last = checkpoint["last_position"]

    async def asked(path: str, status: int, error: str) -> str:
        found = problem(await auditor.get(f"{AUDIT}/{path}"), status, error)
        return str(found["detail"])

    assert f"No event has position {last - 2}" in await asked(f"proof/{last - 2}", 404, "not_found")
    assert "No event has position 0" in await asked("proof/0", 404, "not_found")
    assert "future" in await asked(f"proof/{last + 9}", 422, "invalid_input")
    assert "number" in await asked("proof/first", 422, "invalid_input")
    size = checkpoint["tree_size"]
    for tree_size in (0, size - 1, size + 1, "x"):
        await asked(f"proof/{last}?tree_size={tree_size}", 422, "invalid_input")
    for query in (f"first={size + 1}", f"first={size}&second={size - 1}", "first=0", "second=1"):
        await asked(f"consistency?{query}", 422, "invalid_input")
    await asked("tiles/8", 404, "not_found")
    await asked("checkpoints?cursor=x", 422, "invalid_input")


async def test_what_is_not_sealed_yet_is_told(services: Services, auditor: Client) -> None:
    """Apart from what will never be; a request to seal it waits until it is."""
    await sealed(auditor)
    async with services.pool.acquire() as connection, connection.transaction():
        # A writer that has drawn a position and not committed holds everything behind it back.
        await connection.execute(FILL, 1)
        async with services.pool.acquire() as other:
            position = await other.fetchval(FILL + " RETURNING position", 1)
        found = problem(await auditor.get(f"{AUDIT}/proof/{position}"), 404, "not_found")
        assert f"Position {position} is not sealed yet" in found["detail"]
    assert (await sealed(auditor))["last_position"] == position
    assert (await auditor.get(f"{AUDIT}/proof/{position}")).status_code == 200


async def test_tiles_are_those_of_the_tree(services: Services, auditor: Client) -> None:
    """Whole and partial ones, one behind the other, on each level."""
    await services.pool.execute(FILL, 600)
    size = (await sealed(auditor))["tree_size"]
    leaves = (await auditor.get(f"{AUDIT}/tiles/0")).content
    assert len(leaves) == 32 * size
    tree = merkle.Tree()
    tiles = tree.append(leaves)
    (newest,) = (await auditor.get(f"{AUDIT}/checkpoints?limit=1")).json()["checkpoints"]
    assert base64.b64decode(newest["root"]) == tree.root()
    above = (await auditor.get(f"{AUDIT}/tiles/1")).content
    assert above == tiles[merkle.TileId(1, 0)]
    second = (await auditor.get(f"{AUDIT}/tiles/0?first=1&count=1")).content
    assert second == leaves[8192 : 2 * 8192]
    assert (await auditor.get(f"{AUDIT}/tiles/0?first=3")).content == b""


async def test_only_auditors_and_admins_see_it(user: Client, operator: Client) -> None:
    """Nobody else sees the sealed log, nor has it sealed."""
    for client in (user, operator):
        for path in ("checkpoints", "proof/1", "consistency?first=1", "tiles/0"):
            problem(await client.get(f"{AUDIT}/{path}"), 403, "forbidden")
        problem(await client.post(f"{AUDIT}/checkpoints"), 403, "forbidden")


async def test_the_sealer_is_in_the_metrics(auditor: Client) -> None:
    """As the other followers of the log are."""
    await sealed(auditor)
    text = (await auditor.get("/metrics")).text
    for name, value in (("lag_events", 0), ("followed", 1), ("stopped", 0)):
        line = f'reactorcide_projection_{name}{{projection="{sealer.NAME}"}} {value:.1f}'
        assert line in text.splitlines()
