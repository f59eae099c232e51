"""Every setting of every process, read once: flags beat environment, environment beats defaults.

Pure: takes the environment and the flags as mappings, opens nothing, and is read by entry
points alone. A variable that is set to nothing counts as unset. Named tuples, not dataclasses:
making those costs a client command some of the milliseconds before its first line.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

DEFAULT_API_URL: Final = "http://127.0.0.1:6080"
CREDENTIALS_FILE: Final = "credentials"
PREFIX: Final = "REACTORCIDE_"

_SECRET_KEY_BYTES: Final = 32
_T = TypeVar("_T")


class SettingError(Exception):
    """A setting that can't be used. Its text is one line: name, value, what is allowed."""

    def __init__(self, name: str, value: str, allowed: str) -> None:
        super().__init__(f"{name}={value!r} can't be used, allowed: {allowed}")
        self.name = name
        self.value = value
        self.allowed = allowed


class RateLimit(NamedTuple):
    """At most `requests` in `seconds` for each token."""

    requests: int
    seconds: int


class Settings(NamedTuple):
    """What the environment and the flags say. Paths are absolute."""

    db_uri: str | None
    """None: an embedded server below `data_dir`."""
    data_dir: Path
    host: str
    port: int
    api_url: str
    api_token: str | None
    """None: not set, and no credentials file in the data dir either."""
    object_store_url: str
    log_level: str
    log_format: str | None
    """None: console on a terminal, else json."""
    lease_seconds: int
    drain_seconds: int
    """How long what runs may go on once a worker should stop."""
    spool_dir: Path
    """Where a worker keeps outcomes that it could not report."""
    copy_roots: tuple[Path, ...]
    rate_limit: RateLimit | None
    """None: off."""
    trusted_proxies: tuple[str, ...]
    """Addresses and networks in CIDR notation."""
    secret_key: bytes | None
    """None: the file `secret.key` in the data dir."""
    log_key_file: Path
    """Holds the key that signs the log's checkpoints."""

    @property
    def credentials_file(self) -> Path:
        """Where `up` writes the admin's token."""
        return self.data_dir / CREDENTIALS_FILE


def load(environ: Mapping[str, str], flags: Mapping[str, str | None] | None = None) -> Settings:
    """Read all settings. `flags` goes by the variables' names without the prefix.

    Reads one file, the data dir's credentials, when no token is set. Raises SettingError for the
    first value that can't be used.
    """
    source = _Source(environ, flags or {})
    data_dir = source.read("DATA_DIR", _path, _default_data_dir(environ))
    url = source.read("API_URL", _api_url, None)
    token = source.read("API_TOKEN", _token, None, shown_as=_hidden)
    if url is None or token is None:
        kept_url, kept_token = _credentials(data_dir / CREDENTIALS_FILE)
        url, token = url or kept_url or DEFAULT_API_URL, token or kept_token
    return Settings(
        db_uri=source.read("DB_URI", _db_uri, None, shown_as=without_password),
        data_dir=data_dir,
        host=source.read("HOST", _host, "127.0.0.1"),
        port=source.read("PORT", _whole(0, 65_535), 6080),
        api_url=url,
        api_token=token,
        object_store_url=source.read(
            "OBJECT_STORE_URL", _object_store, (data_dir / "objects").as_uri()
        ),
        log_level=source.read("LOG_LEVEL", _one_of(LOG_LEVELS), "info"),
        log_format=source.read("LOG_FORMAT", _one_of(("console", "json")), None),
        lease_seconds=source.read("LEASE_SECONDS", _whole(1, 3600), 15),
        drain_seconds=source.read("DRAIN_SECONDS", _whole(0, 86_400), 30),
        spool_dir=source.read("SPOOL_DIR", _path, data_dir / "spool"),
        copy_roots=source.read("COPY_ROOTS", _copy_roots, ()),
        rate_limit=source.read("RATE_LIMIT", _rate_limit, _DEFAULT_RATE_LIMIT),
        trusted_proxies=source.read("TRUSTED_PROXIES", _networks, ()),
        secret_key=source.read("SECRET_KEY", _secret_key, None, shown_as=_hidden),
        log_key_file=source.read("LOG_KEY_FILE", _path, data_dir / "log.key"),
    )


_DEFAULT_RATE_LIMIT: Final[RateLimit | None] = RateLimit(6000, 60)
LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


class _Source(NamedTuple):
    environ: Mapping[str, str]
    flags: Mapping[str, str | None]

    def read(
        self,
        name: str,
        parse: Callable[[str], _T],
        default: _T,
        *,
        shown_as: Callable[[str], str] = str,
    ) -> _T:
        """Parse the flag, else the variable, else take the default."""
        shown, text = f"--{name.lower().replace('_', '-')}", self.flags.get(name)
        if text is None:
            shown, text = PREFIX + name, self.environ.get(PREFIX + name) or None
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            raise SettingError(shown, shown_as(text), str(error)) from None


def _default_data_dir(environ: Mapping[str, str]) -> Path:
    shared = environ.get("XDG_DATA_HOME")
    # The base directory specification: a relative path there is to be ignored.
    if shared and Path(shared).is_absolute():
        return Path(shared) / "reactorcide"
    return Path("~/.local/share/reactorcide").expanduser().absolute()


def _path(text: str) -> Path:
    if "\0" in text:
        message = "a path of a directory"
        raise ValueError(message)
    return Path(text).expanduser().absolute()


def _credentials(path: Path) -> tuple[str | None, str | None]:
    """Return URL and token of the file that `up` writes; none where it can't be read."""
    import json

    try:
        kept = json.loads(path.read_bytes())
        return _api_url(str(kept["url"])), _token(str(kept["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def _api_url(text: str) -> str:
    from urllib.parse import urlsplit

    message = "http:// or https://, a host, and no query"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(message) from None
    is_plain = text.isascii() and text.isprintable() and " " not in text
    is_url = parts.scheme in {"http", "https"} and parts.hostname and port != 0
    if not is_plain or not is_url or parts.query or parts.fragment or parts.username:
        raise ValueError(message)
    return text.rstrip("/")


def _token(text: str) -> str:
    if not (text.isascii() and text.isprintable()) or " " in text:
        message = "printable ASCII without spaces"
        raise ValueError(message)
    return text


def _db_uri(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")) or not text.isprintable():
        message = "postgresql://user:password@host:port/database"
        raise ValueError(message)
    return text


def without_password(uri: str) -> str:
    """Return the URI as it may be shown."""
    import re

    return re.sub(r"(//[^:/@]*):[^@]*@", r"\1:***@", uri)


def _hidden(_text: str) -> str:
    return "***"


def _host(text: str) -> str:
    if not text.isprintable() or any(letter in text for letter in " /@[]"):
        message = "an address or a host's name"
        raise ValueError(message)
    return text


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else least - 1  # noqa: PLR2004  enough digits for every setting
        if not least <= number <= most:
            message = f"a whole number from {least} to {most}"
            raise ValueError(message)
        return number

    return parse


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(", ".join(allowed))
        return text.lower()

    return parse


def _object_store(text: str) -> str:
    if not text.startswith(("file:///", "s3://", "memory://")) or text == "s3://":
        message = "file:///directory, s3://bucket/prefix or memory://"
        raise ValueError(message)
    return text


def _copy_roots(text: str) -> tuple[Path, ...]:
    roots = [Path(part) for part in text.split(":") if part]
    if "\0" in text or not all(root.is_absolute() for root in roots):
        message = "absolute directories with ':' between them"
        raise ValueError(message)
    return tuple(roots)


def _rate_limit(text: str) -> RateLimit | None:
    if text.lower() == "off":
        return None
    requests, _, seconds = text.partition("/")
    try:
        return RateLimit(_whole(1, 100_000_000)(requests), _whole(1, 86_400)(seconds))
    except ValueError:
        message = "REQUESTS/SECONDS as in 6000/60 (at most 86400 seconds), or off"
        raise ValueError(message) from None


def _networks(text: str) -> tuple[str, ...]:
    from ipaddress import ip_network

    try:
        return tuple(
            str(ip_network(part.strip(), strict=False)) for part in text.split(",") if part.strip()
        )
    except ValueError:
        message = "addresses or networks with ',' between them: 10.0.0.1, 10.1.0.0/16"
        raise ValueError(message) from None


def _secret_key(text: str) -> bytes:
    from base64 import b64decode

    try:
        key = b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != _SECRET_KEY_BYTES:
        message = "32 bytes in base64 (openssl rand -base64 32)"
        raise ValueError(message)
    return key
