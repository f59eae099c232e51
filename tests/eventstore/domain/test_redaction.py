"""What a redaction leaves of each event, and when one may be redacted."""

import json
from typing import Any, get_args
from uuid import UUID

import pytest

from reactorcide.eventstore.codec import EVENT_TYPES, decode
from reactorcide.eventstore.domain.decider import fold
from reactorcide.eventstore.domain.errors import NotLegal
from reactorcide.eventstore.domain.events import (
    REDACTED,
    AnyEvent,
    EventRedacted,
    JobCompleted,
    JobSubmitted,
    UserDeactivated,
)
from reactorcide.eventstore.domain.job import FINAL, JOB, Status, retry_request
from reactorcide.eventstore.domain.once import Make
from reactorcide.eventstore.domain.redaction import (
    DISTINCT,
    STAYS,
    check_ended,
    remains,
)
from reactorcide.tests.eventstore.domain.samples import ISSUED, OWNER, REGISTERED, WAY_TO
from reactorcide.tests.eventstore.recorded import a_recorded
from reactorcide.tests.eventstore.test_codec import FULL, the_golden

STREAM_ID = UUID(int=77)
COMMAND = Make(EventRedacted(position=7, reason="asked for", remaining_hash="0" * 64))


def test_every_event_says_what_of_it_stays() -> None:
    """A new type of event, and a field that is renamed, need a word in the table."""
    assert set(STAYS) == set(get_args(AnyEvent))
    for event_type, names in STAYS.items():
        assert names <= set(event_type.model_fields), event_type.wire_type
    for event_type, name in DISTINCT:
        assert name in event_type.model_fields


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_what_is_left_is_less_of_the_same_and_can_be_read(path: Any) -> None:
    """The same type of the same schema version: an envelope is sealed, and never changes."""
    recorded, data = the_golden(path)
    event_type = EVENT_TYPES[recorded.type]
    left = remains(event_type, data, STREAM_ID)
    for name, value in left.items():
        is_mark = isinstance(value, str) and value.startswith(REDACTED)
        assert value == data[name] if name in STAYS[event_type] else is_mark
    event = decode(a_recorded(recorded.type, recorded.schema_version, json.dumps(left)))
    assert type(event) is event_type
    assert remains(event_type, left, STREAM_ID) == left


def test_nothing_that_somebody_chose_freely_is_left_of_a_request() -> None:
    """Keys of mappings are such words too."""
    word = "tangerine"
    request = JobSubmitted(
        user_id=OWNER,
        name=word,
        job_command=word,
        handler=word,
        args={word: [word]},
        description=word,
        source_type="git",
        git_url=word,
        git_ref=word,
        source_path=word,
        code_dir=word,
        job_dir=word,
        runner_image=word,
        job_env_vars={word: word},
        sealed_env_vars={word: word},
        job_env_file=word,
        unique_key=word,
        labels={word: word},
        queue_name="q",
    )
    left = remains(JobSubmitted, request.model_dump(mode="json"), STREAM_ID)
    assert word not in json.dumps(left)
    assert (left["queue_name"], left["source_type"], left["name"]) == ("q", "git", REDACTED)


def test_no_two_users_share_what_is_left_of_their_names() -> None:
    """Names and addresses are unique; so must be what stands for them."""
    data = {"username": "ada", "email": "ada@example.org", "roles": ["user"]}
    left = remains(type(REGISTERED), data, STREAM_ID)
    assert left["username"] == left["email"] == f"{REDACTED} {STREAM_ID}"


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.NONE])
def test_a_job_is_redacted_only_when_it_has_ended(status: Status) -> None:
    """Before, a worker needs what it says."""
    if status in {*FINAL, Status.DELETED}:
        check_ended(WAY_TO[status])
        return
    with pytest.raises(NotLegal) as caught:
        check_ended(WAY_TO[status])
    assert caught.value.current_status == status


def test_a_user_is_redacted_only_when_it_is_deactivated() -> None:
    """Its name is how it is known; nobody needs that of a token."""
    with pytest.raises(NotLegal, match="user that is active"):
        check_ended((REGISTERED,))
    check_ended((REGISTERED, UserDeactivated()))
    check_ended((ISSUED,))


def test_a_redacted_request_is_not_made_again() -> None:
    """Nobody knows what it was."""
    asked = JobSubmitted(user_id=OWNER, name=REDACTED, job_command=REDACTED)
    state = fold(JOB, (asked, *WAY_TO[Status.COMPLETED][1:-1], JobCompleted(attempt=1)))
    with pytest.raises(NotLegal, match="redacted"):
        retry_request(state, STREAM_ID)
