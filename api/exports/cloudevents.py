"""An event of the trail as a CloudEvent 1.0 in structured mode.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md: names of attributes are lower
case letters and digits, and an attribute without a value is left out. A position is text, since
the specification's integers end at 2**31: `sequence` is its documented extension, padded so that
texts sort as numbers do.
"""

from collections.abc import Mapping
from typing import Any, Final

SPEC_VERSION: Final = "1.0"


def cloud_event(shown: Mapping[str, Any], log: str) -> dict[str, Any]:
    """Return the event, as the API shows it and with its outcome, in this form."""
    actor = shown["actor"]
    attributes = {
        "specversion": SPEC_VERSION,
        "id": shown["event_id"],
        "source": f"/{log}",
        "type": shown["type"],
        "time": shown["recorded_at"],
        "subject": f"{shown['stream_type']}/{shown['stream_id']}",
        "datacontenttype": "application/json",
        "sequence": f"{shown['position']:020d}",
        "streamversion": shown["version"],
        "outcome": shown["outcome"],
        "actortype": actor["type"],
        "actorid": actor["id"],
        "tokenid": actor["token_id"],
        "clientip": shown["ip"],
        "useragent": shown["user_agent"] or None,
        "requestid": shown["request_id"] or None,
        "correlationid": shown["correlation_id"],
        "causationid": shown["causation_id"],
        "data": shown["data"],
    }
    return {name: value for name, value in attributes.items() if value is not None}
