"""Where large things are kept: objects by key, in a directory, in S3, or (for tests) in memory.

A thin room around obstore, which is imported at first use. An object is there whole or not at
all, and nothing is read whole into memory. It knows nothing of jobs, logs or artifacts.

    ObjectStoreError
    ├── StoreUnavailable  the store can't be reached, or refused
    ├── ObjectMissing     it has no object of this key
    └── AnotherStore      it is not the one that others look into
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote
from uuid import UUID, uuid4

if TYPE_CHECKING:
    from obstore import store

WHOLE_BYTES: Final = 5 * 1024 * 1024
"""What is no larger goes in one request; the rest in parts of this size (the least S3 takes)."""

_PIECE_BYTES: Final = 1024 * 1024
_PARTS_AT_ONCE: Final = 2
_IDENTITY: Final = "reactorcide-store-id"
_CONNECT: Final = timedelta(seconds=5)
_ANSWER: Final = timedelta(seconds=60)
_RETRIES: Final = 3


class ObjectStoreError(Exception):
    """The store did not do what was asked."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class StoreUnavailable(ObjectStoreError):  # noqa: N818  named by what is so, like the rejections
    """The store can't be reached, or refused; nothing can be said of what was asked."""


class ObjectMissing(ObjectStoreError):  # noqa: N818  as above
    """There is no object of this key."""


class AnotherStore(ObjectStoreError):  # noqa: N818  as above
    """This store is not the one that others look into: what is put there is not found."""


class ObjectStore:
    """One store, by its URL: `file:///directory`, `s3://bucket/prefix` or `memory://`.

    Made without opening anything; each method may raise ObjectStoreError. S3 is reached as the
    usual AWS_ variables say (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL …).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        scheme, _, place = url.partition("://")
        self._place = unquote(place) if scheme == "file" else place
        self._scheme = scheme
        self._opened: store.ObjectStore | None = None

    @property
    def is_lasting(self) -> bool:
        """Whether others see what is put, and after this process has ended."""
        return self._scheme != "memory"

    async def put(self, key: str, content: AsyncIterator[bytes]) -> None:
        """Put an object, in place of another of the same key; all of it or nothing.

        What `content` raises is raised here, and then nothing was put.
        """
        import obstore  # noqa: PLC0415  takes 40 ms, and most processes never put anything

        with self._errors():
            opened = self._open()
            head, rest = await _head_of(content)
            if rest is None:
                await obstore.put_async(opened, key, head)
            else:
                whole = _joined(head, rest)
                await obstore.put_async(
                    opened, key, whole, chunk_size=WHOLE_BYTES, max_concurrency=_PARTS_AT_ONCE
                )

    async def get(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield an object, or its bytes from `start` (included) to `stop` (not included)."""
        import obstore  # noqa: PLC0415  as above

        if stop is not None and stop <= start:
            return
        with self._errors(key):
            where = {"offset": start} if stop is None else (start, stop)
            asked = {} if start == 0 and stop is None else {"range": where}
            result = await obstore.get_async(self._open(), key, options=asked)  # type: ignore[arg-type]  # a TypedDict
            stream = result.stream(min_chunk_size=_PIECE_BYTES)
        while True:
            with self._errors(key):
                piece = await anext(stream, None)
            if piece is None:
                return
            yield bytes(piece)

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return an object, or a part of it: for what is known to be small."""
        return b"".join([piece async for piece in self.get(key, start, stop)])

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys below a prefix, in order; it ends where a segment does (`a/b`)."""
        import obstore  # noqa: PLC0415  as above

        found: list[str] = []
        with self._errors():
            async for page in obstore.list(self._open(), prefix):
                found += [meta["path"] for meta in page]
        return sorted(found)

    async def delete_all(self, prefix: str) -> None:
        """Delete the object of this key and all below it; what is not there does not matter."""
        import obstore  # noqa: PLC0415  as above

        keys = [*await self.keys(prefix), prefix]
        # In S3 what is not there is no error, and a request deletes a thousand.
        for some in [keys] if self._scheme == "s3" else [[key] for key in keys]:
            with self._errors(), contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._open(), some)

    async def sync(self, keys: Sequence[str]) -> None:
        """Make sure that these objects outlive a power cut; only a directory needs that said."""
        if self._scheme == "file":
            with self._errors():
                await asyncio.to_thread(_flush, Path(self._place), keys)

    async def identity(self) -> UUID:
        """Return the id that this store was given when it was first used, by whomever."""
        import obstore  # noqa: PLC0415  as above
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415  as above

        try:
            found = await self.read(_IDENTITY)
        except ObjectMissing:
            with self._errors(), contextlib.suppress(AlreadyExistsError):
                own = str(uuid4()).encode()
                await obstore.put_async(self._open(), _IDENTITY, own, mode="create")
            found = await self.read(_IDENTITY)
        try:
            return UUID(found.decode("ascii"))
        except ValueError:
            detail = f"the object {_IDENTITY} of {self.url} is none of ours"
            raise StoreUnavailable(detail) from None

    def _open(self) -> "store.ObjectStore":
        if self._opened is None:
            self._opened = self._made()
        return self._opened

    def _made(self) -> "store.ObjectStore":
        from obstore.store import LocalStore, MemoryStore, S3Store  # noqa: PLC0415  as above

        match self._scheme:
            case "file":
                return LocalStore(self._place, mkdir=True, automatic_cleanup=True)
            case "memory":
                return MemoryStore()
            case _:
                bucket, _, prefix = self._place.partition("/")
                return S3Store(
                    bucket,
                    prefix=prefix.strip("/") or None,
                    client_options={
                        "allow_http": _is_plain_http(),
                        "connect_timeout": _CONNECT,
                        "timeout": _ANSWER,
                    },
                    retry_config={"max_retries": _RETRIES, "retry_timeout": _ANSWER},
                    virtual_hosted_style_request=_has_no_endpoint(),
                )

    @contextlib.contextmanager
    def _errors(self, key: str = "") -> Iterator[None]:
        """Raise our errors for the library's, inside of this block."""
        from obstore.exceptions import BaseError  # noqa: PLC0415  as above

        try:
            yield
        except FileNotFoundError as error:
            if not key:
                raise StoreUnavailable(self._text(error)) from error
            detail = f"{self.url} has no object {key}"
            raise ObjectMissing(detail) from error
        except (BaseError, OSError) as error:
            raise StoreUnavailable(self._text(error)) from error

    def _text(self, error: BaseException) -> str:
        """Return the first line: what follows is for the library's own developers."""
        words = (str(error) or type(error).__name__).strip().splitlines()[0]
        return f"the object store {self.url} can't be used: {words[:300]}"


async def _head_of(content: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes] | None]:
    """Return the beginning, and the rest; None when the beginning is all."""
    pieces: list[bytes] = []
    size = 0
    async for piece in content:
        pieces.append(piece)
        size += len(piece)
        if size > WHOLE_BYTES:
            return b"".join(pieces), content
    return b"".join(pieces), None


async def _joined(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for piece in rest:
        yield piece


def _flush(root: Path, keys: Sequence[str]) -> None:
    """Flush files, then the directories that name them (fsync(2): that is not done by itself)."""
    paths = [root / key for key in keys]
    folders = {folder for path in paths for folder in path.parents if folder.is_relative_to(root)}
    for path in (*paths, *sorted(folders, reverse=True)):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def _is_plain_http() -> bool:
    return any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)


def _has_no_endpoint() -> bool:
    """Amazon's own buckets are hosts; those of others are mostly paths."""
    return not any(os.environ.get(name) for name in _ENDPOINTS)
