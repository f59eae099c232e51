"""The operations of the API: the one list that makes its routes and its OpenAPI document."""

from http import HTTPStatus
from typing import Final

from reactorcide.api import (
    account_views,
    docs,
    health,
    queues,
    tokens,
    users,
    views,
)
from reactorcide.api.audit_table import AUDIT
from reactorcide.api.differences import DiffQuery
from reactorcide.api.events import stream
from reactorcide.api.events.stream import EVENT_STREAM
from reactorcide.api.jobs.table import JOBS
from reactorcide.api.moments import AtQuery
from reactorcide.api.operations import LAST_EVENT_ID, V1, Operation
from reactorcide.api.pages import PageQuery

_USER: Final = f"{V1}/users/{{user_id}}"
_TOKEN: Final = f"{V1}/tokens/{{token_id}}"

_QUEUES: Final = ("queues:manage", "jobs:read")
_EVENTS: Final = ("jobs:read", "audit:read")
_USERS: Final = ("users:manage",)
_SEE_USERS: Final = ("users:manage", "audit:read")
_TOKENS: Final = ("tokens:manage",)
_SEE_TOKENS: Final = ("tokens:manage", "audit:read")

QUEUES: Final = (
    Operation(
        name="listQueues",
        method="GET",
        path=f"{V1}/queues",
        summary="Count the jobs of each queue that have not ended (operator, auditor, admin)",
        handler=queues.list_queues,
        tag="queues",
        scopes=_QUEUES,
        query=queues.QueueListQuery,
        answer=views.QueueListView,
    ),
)

EVENTS: Final = (
    Operation(
        name="streamEvents",
        method="GET",
        path=f"{V1}/events/stream",
        summary="Follow all that happens, as far as the caller may see it",
        handler=stream.stream,
        tag="events",
        scopes=_EVENTS,
        query=stream.StreamQuery,
        headers=LAST_EVENT_ID,
        media_types=(EVENT_STREAM,),
    ),
)

ACCOUNTS: Final = (
    Operation(
        name="getMe",
        method="GET",
        path=f"{V1}/me",
        summary="Show the caller and its token",
        handler=users.me,
        tag="users",
        answer=account_views.MeView,
    ),
    Operation(
        name="registerUser",
        method="POST",
        path=f"{V1}/users",
        summary="Register a user (admin)",
        handler=users.register,
        tag="users",
        scopes=_USERS,
        body=users.UserRequest,
        status=HTTPStatus.CREATED,
        answer=account_views.UserView,
        errors=("conflict",),
    ),
    Operation(
        name="listUsers",
        method="GET",
        path=f"{V1}/users",
        summary="List users, newest first (admin, auditor)",
        handler=users.list_users,
        tag="users",
        scopes=_SEE_USERS,
        query=PageQuery,
        answer=account_views.UserListView,
    ),
    Operation(
        name="getUser",
        method="GET",
        path=_USER,
        summary="Show a user, now or as it stood once (admin, auditor)",
        handler=users.get,
        tag="users",
        scopes=_SEE_USERS,
        query=AtQuery,
        answer=account_views.UserView,
    ),
    Operation(
        name="diffUser",
        method="GET",
        path=f"{_USER}/diff",
        summary="Say what changed in a user from one version to another",
        handler=users.diff,
        tag="users",
        scopes=_SEE_USERS,
        query=DiffQuery,
        answer=views.DiffView,
    ),
    Operation(
        name="setUserRoles",
        method="PUT",
        path=f"{_USER}/roles",
        summary="Give a user these roles and no others (admin)",
        handler=users.set_roles,
        tag="users",
        scopes=_USERS,
        body=users.RolesRequest,
        answer=account_views.UserView,
        errors=("conflict",),
    ),
    Operation(
        name="deactivateUser",
        method="POST",
        path=f"{_USER}/deactivate",
        summary="Let a user do nothing any more (admin)",
        handler=users.deactivate,
        tag="users",
        scopes=_USERS,
        answer=account_views.UserView,
    ),
    Operation(
        name="issueToken",
        method="POST",
        path=f"{V1}/tokens",
        summary="Make a token; its text is shown this once",
        handler=tokens.issue,
        tag="tokens",
        scopes=_TOKENS,
        body=tokens.IssueRequest,
        status=HTTPStatus.CREATED,
        answer=account_views.NewTokenView,
        errors=("conflict",),
    ),
    Operation(
        name="listTokens",
        method="GET",
        path=f"{V1}/tokens",
        summary="List own tokens, newest first",
        handler=tokens.list_tokens,
        tag="tokens",
        scopes=_SEE_TOKENS,
        query=tokens.TokenListQuery,
        answer=account_views.TokenListView,
    ),
    Operation(
        name="getToken",
        method="GET",
        path=_TOKEN,
        summary="Show a token, now or as it stood once",
        handler=tokens.get,
        tag="tokens",
        scopes=_SEE_TOKENS,
        query=AtQuery,
        answer=account_views.TokenView,
    ),
    Operation(
        name="diffToken",
        method="GET",
        path=f"{_TOKEN}/diff",
        summary="Say what changed in a token from one version to another",
        handler=tokens.diff,
        tag="tokens",
        scopes=_SEE_TOKENS,
        query=DiffQuery,
        answer=views.DiffView,
    ),
    Operation(
        name="revokeToken",
        method="DELETE",
        path=_TOKEN,
        summary="Revoke a token: in force everywhere within a second",
        handler=tokens.revoke,
        tag="tokens",
        scopes=_TOKENS,
        status=HTTPStatus.NO_CONTENT,
    ),
    Operation(
        name="rotateToken",
        method="POST",
        path=f"{_TOKEN}/rotate",
        summary="Replace a token by a new one that may do the same",
        handler=tokens.rotate,
        tag="tokens",
        scopes=_TOKENS,
        body=tokens.RotateRequest,
        body_is_optional=True,
        status=HTTPStatus.CREATED,
        answer=account_views.NewTokenView,
        errors=("conflict",),
    ),
)

OPEN: Final = (
    Operation(
        name="getHealth",
        method="GET",
        path="/api/health",
        summary="Say how the API is doing",
        handler=health.health,
        tag="health",
        is_public=True,
        answer=views.HealthView,
    ),
    Operation(
        name="getHealthV1",
        method="GET",
        path=f"{V1}/health",
        summary="Say how the API is doing",
        handler=health.health,
        tag="health",
        is_public=True,
        answer=views.HealthView,
    ),
    Operation(
        name="isAlive",
        method="GET",
        path="/livez",
        summary="Say that the process answers at all",
        handler=health.alive,
        tag="health",
        is_public=True,
        answer=views.StateView,
    ),
    Operation(
        name="isReady",
        method="GET",
        path="/readyz",
        summary="Say that requests may be sent here",
        handler=health.ready,
        tag="health",
        is_public=True,
        answer=views.ReadyView,
    ),
    Operation(
        name="getMetrics",
        method="GET",
        path="/metrics",
        summary="Show counters in the Prometheus text format",
        handler=health.metrics,
        tag="health",
        is_public=True,
        media_types=("text/plain",),
    ),
    Operation(
        name="getOpenApi",
        method="GET",
        path="/openapi.json",
        summary="Show this document",
        handler=docs.document,
        tag="docs",
        is_public=True,
    ),
    Operation(
        name="getDocs",
        method="GET",
        path="/docs",
        summary="Show this document for people to read",
        handler=docs.page,
        tag="docs",
        is_public=True,
        media_types=("text/html",),
    ),
)

OPERATIONS: Final = (*JOBS, *QUEUES, *EVENTS, *ACCOUNTS, *AUDIT, *OPEN)
