"""Checkpoints and proofs hold for software that is not ours: sigstore, which verifies Rekor's log.

It lives in a virtual environment of its own: `make tlog-test`.
"""

import base64
import json
import os
import subprocess
from typing import Any, Final

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.leaves import RawEvent, Stretch, read_raw
from reactorcide.eventstore.signed_note import Signer
from reactorcide.projections import sealed_log
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.test_sealer import FILL, KEY, a_sealer, holding, sealed_by

PYTHON: Final = os.environ.get("TLOG_PYTHON")

VERIFY: Final = """
import base64, json, sys
from types import SimpleNamespace as Value
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore._internal.trust import Keyring
from sigstore.errors import VerificationError
from sigstore_models.common import v1

given = json.load(sys.stdin)
name, key_id, key = given["verifier_key"].split("+", 2)
public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])
der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
keyring = Keyring([v1.PublicKey(
    raw_bytes=base64.b64encode(der), key_details=v1.PublicKeyDetails.PKIX_ED25519
)])

def verdict(proof):
    try:
        signed = SignedCheckpoint.from_text(proof["note"])
        signed.signed_note.verify(keyring, bytes.fromhex(key_id))
        verify_merkle_inclusion(Value(_inner=Value(
            canonicalized_body=proof["entry"].encode(),
            inclusion_proof=Value(
                log_index=proof["index"],
                tree_size=signed.checkpoint.log_size,
                root_hash=bytes.fromhex(signed.checkpoint.log_hash),
                hashes=[base64.b64decode(one) for one in proof["hashes"]],
            ),
        )))
    except VerificationError as error:
        return str(error)
    return signed.checkpoint.origin

print(json.dumps([verdict(proof) for proof in given["proofs"]]))
"""


def verdicts(verifier_key: str, proofs: list[dict[str, Any]]) -> list[str]:
    """Return what sigstore says of each: the log's origin, or why it is not so."""
    assert PYTHON is not None
    given = json.dumps({"verifier_key": verifier_key, "proofs": proofs})
    words = [PYTHON, "-c", VERIFY]
    done = subprocess.run(
        words, input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(PYTHON is None, reason="make tlog-test")
async def test_sigstore_verifies_checkpoints_and_proofs(
    database: Database, connection: Connection
) -> None:
    """Of every tree that was signed; and nothing that was changed."""
    async with holding(database) as session:
        for count in (1, 2, 253, 1, 400):
            await connection.execute(FILL, count)
            await sealed_by(session, a_sealer())
    events: list[RawEvent] = []
    await read_raw(connection, Stretch(0, 2**62, 1_000), events.extend)
    origin = await sealed_log.origin(connection)
    proofs: list[dict[str, Any]] = []
    for checkpoint in await sealed_log.newest(connection, 100):
        size = checkpoint.tree_size
        for index in sorted({0, size // 2, size - 2, size - 1} & set(range(size))):
            place = await sealed_log.place_of(connection, int(events[index].position))
            assert place is not None
            hashes = await sealed_log.inclusion(connection, index, size)
            proofs.append(
                {
                    "note": checkpoint.note,
                    "index": index,
                    "entry": events[index].entry(place.payload_hash).decode(),
                    "hashes": [base64.b64encode(one).decode() for one in hashes],
                }
            )
    forged = [
        {**proofs[0], "entry": proofs[0]["entry"].replace("test", "best")},
        {**proofs[0], "index": 1},
        {**proofs[0], "hashes": proofs[0]["hashes"][1:]},
        {**proofs[0], "note": proofs[0]["note"].replace("\n657\n", "\n658\n")},
    ]
    key = Signer(origin, KEY).verifier.text
    found = verdicts(key, [*proofs, *forged])
    assert found[: len(proofs)] == [origin] * len(proofs)
    assert len(proofs) > 12
    assert origin not in found[len(proofs) :]
