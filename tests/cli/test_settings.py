"""Settings: flags beat environment, environment beats defaults, and nothing bad gets by."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Final

import pytest

from reactorcide.cli.settings import RateLimit, SettingError, load, without_password

HOME: Final = {"REACTORCIDE_DATA_DIR": "/nowhere/at/all"}

GOOD: Final = [
    ("DB_URI", "postgresql://u:p@h:1/d", "db_uri", "postgresql://u:p@h:1/d"),
    ("DATA_DIR", "/srv/r", "data_dir", Path("/srv/r")),
    ("HOST", "0.0.0.0", "host", "0.0.0.0"),  # noqa: S104  parsed, not bound
    ("PORT", "0", "port", 0),
    ("PORT", "65535", "port", 65_535),
    ("API_URL", "https://jobs.example:8443/base/", "api_url", "https://jobs.example:8443/base"),
    ("API_TOKEN", "rct_abc", "api_token", "rct_abc"),
    ("OBJECT_STORE_URL", "s3://bucket/prefix", "object_store_url", "s3://bucket/prefix"),
    ("OBJECT_STORE_URL", "memory://", "object_store_url", "memory://"),
    ("LOG_LEVEL", "DEBUG", "log_level", "debug"),
    ("LOG_FORMAT", "json", "log_format", "json"),
    ("LEASE_SECONDS", "1", "lease_seconds", 1),
    ("LEASE_SECONDS", "3600", "lease_seconds", 3600),
    ("COPY_ROOTS", "/a:/b/c", "copy_roots", (Path("/a"), Path("/b/c"))),
    ("RATE_LIMIT", "10/2", "rate_limit", RateLimit(10, 2)),
    ("RATE_LIMIT", "off", "rate_limit", None),
    ("TRUSTED_PROXIES", "10.0.0.1, fd00::/8", "trusted_proxies", ("10.0.0.1/32", "fd00::/8")),
    ("SECRET_KEY", b64encode(b"k" * 32).decode(), "secret_key", b"k" * 32),
]

BAD: Final = [
    ("DB_URI", "mysql://h/d"),
    ("DATA_DIR", "a\0b"),
    ("HOST", "a b"),
    ("PORT", "65536"),
    ("PORT", "-1"),
    ("PORT", "http"),
    ("PORT", "٣"),
    ("PORT", "1" * 5000),
    ("API_URL", "jobs.example"),
    ("API_URL", "ftp://jobs.example"),
    ("API_URL", "http://h:99999"),
    ("API_URL", "http://h/?q=1"),
    ("API_TOKEN", "with space"),
    ("API_TOKEN", "line\nbreak"),
    ("OBJECT_STORE_URL", "gopher://x"),
    ("LOG_LEVEL", "loud"),
    ("LOG_FORMAT", "xml"),
    ("LEASE_SECONDS", "0"),
    ("LEASE_SECONDS", "3601"),
    ("LEASE_SECONDS", "1.5"),
    ("COPY_ROOTS", "/a:relative"),
    ("RATE_LIMIT", "6000"),
    ("RATE_LIMIT", "0/60"),
    ("RATE_LIMIT", "5/0"),
    ("TRUSTED_PROXIES", "10.0.0.300"),
    ("SECRET_KEY", b64encode(b"short").decode()),
    ("SECRET_KEY", "not base64!"),
]


@pytest.mark.parametrize(("variable", "text", "field", "expected"), GOOD)
def test_a_variable_is_read(variable: str, text: str, field: str, expected: object) -> None:
    """What the contract allows becomes the field's value."""
    settings = load({**HOME, f"REACTORCIDE_{variable}": text})
    assert getattr(settings, field) == expected


@pytest.mark.parametrize(("variable", "text"), BAD)
def test_a_bad_value_is_named_in_one_line(variable: str, text: str) -> None:
    """The error names the variable and what is allowed, in a single line."""
    with pytest.raises(SettingError) as caught:
        load({**HOME, f"REACTORCIDE_{variable}": text})
    assert str(caught.value).startswith(f"REACTORCIDE_{variable}=")
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.allowed


def test_defaults_are_the_contracts() -> None:
    """An empty environment gives what the contract's table says."""
    settings = load({"HOME": "/h", "XDG_DATA_HOME": "/share"})
    assert settings.data_dir == Path("/share/reactorcide")
    assert (settings.host, settings.port) == ("127.0.0.1", 6080)
    assert settings.api_url == "http://127.0.0.1:6080"
    assert settings.api_token is None
    assert settings.db_uri is None
    assert settings.object_store_url == "file:///share/reactorcide/objects"
    assert settings.lease_seconds == 15
    assert settings.rate_limit == RateLimit(6000, 60)


def test_a_relative_xdg_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base directory specification says so."""
    monkeypatch.setenv("HOME", "/h")
    assert load({"XDG_DATA_HOME": "x"}).data_dir == Path("/h/.local/share/reactorcide")


def test_flags_beat_the_environment() -> None:
    """A flag wins, and is named as such when it is wrong."""
    environ = {**HOME, "REACTORCIDE_PORT": "1", "REACTORCIDE_HOST": "h"}
    settings = load(environ, {"PORT": "2", "HOST": None})
    assert (settings.port, settings.host) == (2, "h")
    with pytest.raises(SettingError, match=r"^--port='x' can't be used"):
        load(environ, {"PORT": "x"})


def test_an_empty_variable_is_an_unset_one() -> None:
    """Compose files set variables to nothing when they mean no value."""
    assert load({**HOME, "REACTORCIDE_PORT": ""}).port == 6080


def test_url_and_token_come_from_the_data_dir(tmp_path: Path) -> None:
    """What `up` left there is used where nothing else is set."""
    (tmp_path / "credentials").write_text(json.dumps({"url": "http://h:1", "token": "t"}))
    here = {"REACTORCIDE_DATA_DIR": str(tmp_path)}
    settings = load(here)
    assert (settings.api_url, settings.api_token) == ("http://h:1", "t")
    settings = load({**here, "REACTORCIDE_API_URL": "http://other", "REACTORCIDE_API_TOKEN": "o"})
    assert (settings.api_url, settings.api_token) == ("http://other", "o")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": "http://h", "token": "a b"}'])
def test_a_broken_credentials_file_is_none(tmp_path: Path, content: str) -> None:
    """It is as if it were not there."""
    (tmp_path / "credentials").write_text(content)
    assert load({"REACTORCIDE_DATA_DIR": str(tmp_path)}).api_token is None


@pytest.mark.parametrize(
    ("variable", "text"),
    [("SECRET_KEY", "hush-hush"), ("API_TOKEN", "hush hush"), ("DB_URI", "mysql://u:hush@h/d")],
)
def test_what_is_secret_is_not_shown(variable: str, text: str) -> None:
    """An error goes into logs; a secret does not."""
    with pytest.raises(SettingError) as caught:
        load({**HOME, f"REACTORCIDE_{variable}": text})
    assert "hush" not in str(caught.value)


def test_a_password_is_taken_out_of_a_uri() -> None:
    """Everything else stays readable."""
    assert without_password("postgresql://u:p%40@h:1/d") == "postgresql://u:***@h:1/d"
