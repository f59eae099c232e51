"""What operations on users and tokens answer with, for the OpenAPI document; see `api.views`."""

from datetime import datetime
from uuid import UUID

from reactorcide.api.views import ListView, View
from reactorcide.eventstore.domain.access import Role


class UserView(View):
    """A user."""

    user_id: UUID
    username: str
    email: str | None
    roles: list[Role]
    is_active: bool
    created_at: datetime
    updated_at: datetime


class UserListView(ListView):
    """A page of users."""

    users: list[UserView]


class TokenSummary(View):
    """The token in the caller's hand; `scopes` are what it opens."""

    token_id: UUID
    name: str
    prefix: str
    scopes: list[str]
    expires_at: datetime | None


class MeView(View):
    """Who the caller is."""

    user: UserView
    token: TokenSummary


class TokenView(View):
    """A token; its text is never shown again."""

    token_id: UUID
    user_id: UUID
    name: str
    prefix: str
    scopes: list[str] | None
    is_active: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    rotated_from: UUID | None
    successor_id: UUID | None


class TokenListView(ListView):
    """A page of tokens."""

    tokens: list[TokenView]


class NewTokenView(View):
    """A token just made: the only time that its text is shown."""

    token_id: UUID
    token: str
    name: str
    created_at: datetime
    expires_at: datetime | None
