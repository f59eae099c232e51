"""The credentials in the URL of a repository: no fact holds them as they are."""

from typing import Final
from urllib.parse import unquote, urlsplit

SEALED_NAME: Final = "=git_url"
"""What they are sealed under; no variable's name holds `=`."""


def without_credentials(url: str) -> tuple[str, str | None]:
    """Return the URL without what is secret of it, and that: `user:password`, or None.

    Over https anything before the host may be a token; elsewhere a user alone is an address.
    """
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    if not at or not (colon or parts.scheme == "https"):
        return url, None
    kept = host if parts.scheme == "https" or not user else f"{user}@{host}"
    return parts._replace(netloc=kept).geturl(), userinfo


def hidden_parts(credentials: str) -> tuple[str, ...]:
    """Return what of some credentials must not show: the password, or the user without one."""
    user, colon, password = credentials.partition(":")
    return credentials, unquote(password if colon and password else user)
