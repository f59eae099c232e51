"""An event of the trail as an OCSF event of class API Activity (6003).

https://schema.ocsf.io/1.3.0/classes/api_activity: all that is required there, and what the trail
knows of the rest. What the schema has no place for is under `unmapped`.
"""

from collections.abc import Mapping
from typing import Any, Final

OCSF_VERSION: Final = "1.3.0"
CLASS_UID: Final = 6003
CATEGORY_UID: Final = 6

_CREATE, _READ, _UPDATE, _DELETE, _OTHER = 1, 2, 3, 4, 99
_ACTIVITIES: Final = {_CREATE: "Create", _READ: "Read", _UPDATE: "Update", _DELETE: "Delete"}
_BY_WORD: Final = {
    "deleted": _DELETE,
    "revoked": _DELETE,
    "log_read": _READ,
    "artifact_read": _READ,
    "exported": _READ,
    "denied": _OTHER,
    "refused": _OTHER,
}
"""By the second half of an event's type; of all others the first of a stream creates."""
_SEVERITIES: Final = {
    "success": (1, "Informational"),
    "refused": (2, "Low"),
    "denied": (3, "Medium"),
}
_PRODUCT: Final = "reactorcide"


def api_activity(shown: Mapping[str, Any], log: str) -> dict[str, Any]:
    """Return the event, as the API shows it and with its outcome, in this form."""
    word = shown["type"].partition(".")[2]
    activity = _BY_WORD.get(word, _CREATE if shown["version"] == 1 else _UPDATE)
    severity_id, severity = _SEVERITIES[shown["outcome"]]
    succeeded = shown["outcome"] == "success"
    return {
        "activity_id": activity,
        "activity_name": _ACTIVITIES.get(activity, word),
        "category_uid": CATEGORY_UID,
        "category_name": "Application Activity",
        "class_uid": CLASS_UID,
        "class_name": "API Activity",
        "type_uid": CLASS_UID * 100 + activity,
        "type_name": f"API Activity: {_ACTIVITIES.get(activity, 'Other')}",
        "time": int(shown["recorded_at"].timestamp() * 1000),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": 1 if succeeded else 2,
        "status": "Success" if succeeded else "Failure",
        "status_detail": shown["outcome"],
        "message": f"{shown['type']} {shown['stream_type']} {shown['stream_id']}",
        "metadata": _metadata(shown, log),
        "actor": _actor(shown["actor"]),
        "api": _api(shown),
        "src_endpoint": {"ip": shown["ip"]} if shown["ip"] else {"svc_name": _PRODUCT},
        "http_request": _present(uid=shown["request_id"], user_agent=shown["user_agent"]),
        "resources": [{"uid": shown["stream_id"], "type": shown["stream_type"]}],
        "unmapped": {
            "version": shown["version"],
            "causation_id": shown["causation_id"],
            "token_id": shown["actor"]["token_id"],
            "data": shown["data"],
        },
    }


def _metadata(shown: Mapping[str, Any], log: str) -> dict[str, Any]:
    product = {"name": _PRODUCT, "vendor_name": _PRODUCT}
    return _present(
        version=OCSF_VERSION,
        product=product,
        uid=shown["event_id"],
        event_code=shown["type"],
        sequence=shown["position"],
        correlation_uid=shown["correlation_id"],
        log_name=log,
        original_time=shown["recorded_at"],
    )


def _actor(actor: Mapping[str, Any]) -> dict[str, Any]:
    match actor["type"]:
        case "user":
            who = _present(uid=actor["id"], credential_uid=actor["token_id"])
            return {"user": {**who, "type_id": 1, "type": "User"}}
        case "anonymous":
            return {"user": {"name": "anonymous", "type_id": 0, "type": "Unknown"}}
        case kind:
            app = _PRODUCT if kind == "system" else f"{_PRODUCT} {kind}"
            return _present(app_name=app, app_uid=actor["id"])


def _api(shown: Mapping[str, Any]) -> dict[str, Any]:
    request = {"request": {"uid": shown["request_id"]}} if shown["request_id"] else {}
    return {"operation": shown["type"], "service": {"name": _PRODUCT}, **request}


def _present(**attributes: Any) -> dict[str, Any]:  # noqa: ANN401  of every type
    return {name: value for name, value in attributes.items() if value}
