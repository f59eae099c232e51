"""The object store: the same on a directory, in memory and on S3; clear when it fails."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reactorcide.eventstore.objects import (
    WHOLE_BYTES,
    ObjectMissing,
    ObjectStore,
    StoreUnavailable,
)
from reactorcide.tests.conftest import STORES

on_each_store = pytest.mark.parametrize("store_url", STORES, indirect=True)


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """Give parts one by one."""
    for part in parts:
        yield part


@on_each_store
@pytest.mark.parametrize("count", [0, 1, 7])
async def test_an_object_comes_back_as_it_was_put(objects: ObjectStore, count: int) -> None:
    """Nothing, one request, and several parts; whole, from somewhere, and a part of it."""
    parts = [os.urandom(WHOLE_BYTES // 4 + 1) for _ in range(count)]
    whole = b"".join(parts)
    await objects.put("a/b.gz", pieces(*parts))
    await objects.sync(["a/b.gz"])
    assert await objects.read("a/b.gz") == whole
    if count:
        middle = len(whole) // 2
        assert await objects.read("a/b.gz", middle) == whole[middle:]
        assert await objects.read("a/b.gz", 5, 10) == whole[5:10]
    assert await objects.read("a/b.gz", 5, 5) == b""


@on_each_store
async def test_what_fails_on_the_way_leaves_nothing(objects: ObjectStore) -> None:
    """Neither half an object, nor the place of the former one."""
    await objects.put("there", pieces(b"before"))

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(WHOLE_BYTES + 1)
        raise ZeroDivisionError

    for key in ("there", "not there"):
        with pytest.raises(ZeroDivisionError):
            await objects.put(key, broken())
    assert await objects.read("there") == b"before"
    with pytest.raises(ObjectMissing, match="not there"):
        await objects.read("not there")


@on_each_store
async def test_a_cancelled_put_leaves_nothing(objects: ObjectStore) -> None:
    """As when a worker is stopped while it puts."""
    has_begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(WHOLE_BYTES + 1)
        has_begun.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(objects.put("half", endless()))
    async with asyncio.timeout(10):
        await has_begun.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    with pytest.raises(ObjectMissing):
        await objects.read("half")


@on_each_store
async def test_all_below_a_prefix_is_deleted_and_no_more(objects: ObjectStore) -> None:
    """The object of that very name too; again, and where nothing is, it is no error."""
    for key in ("jobs/1/a", "jobs/1/b/c", "jobs/12/a", "log"):
        await objects.put(key, pieces(b"x"))
    assert sorted(await objects.keys("jobs/1")) == ["jobs/1/a", "jobs/1/b/c"]
    for prefix in ("jobs/1", "jobs/1", "log", "nowhere"):
        await objects.delete_all(prefix)
    assert await objects.keys("jobs") == ["jobs/12/a"]
    with pytest.raises(ObjectMissing):
        await objects.read("log")


@on_each_store
async def test_a_store_has_one_identity(objects: ObjectStore) -> None:
    """Whoever asks, and whoever asks first."""
    first, second = await asyncio.gather(objects.identity(), objects.identity())
    assert first == second
    if objects.is_lasting:
        assert await ObjectStore(objects.url).identity() == first


async def test_two_directories_are_two_stores(tmp_path: Path) -> None:
    """However alike they are called on their machines."""
    one, other = (ObjectStore((tmp_path / name).as_uri()) for name in ("one", "other"))
    assert await one.identity() != await other.identity()


async def test_a_store_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    """In one line, with its URL."""
    (tmp_path / "file").write_text("no directory")
    url = (tmp_path / "file" / "objects").as_uri()
    with pytest.raises(StoreUnavailable) as caught:
        await ObjectStore(url).put("a", pieces(b"x"))
    assert url in caught.value.detail
    assert "\n" not in caught.value.detail


async def test_an_s3_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within seconds, and without the keys."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "AKIA-canary",
        "AWS_SECRET_ACCESS_KEY": "secret-canary",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    async with asyncio.timeout(30):
        with pytest.raises(StoreUnavailable) as caught:
            await ObjectStore("s3://bucket/prefix").read("a")
    assert "canary" not in caught.value.detail
