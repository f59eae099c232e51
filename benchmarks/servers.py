"""The programs under test, as child processes that end with the measurement."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from reactorcide.eventstore.database import Connection

DEADLINE_SECONDS: Final = 30


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(uri: str, data_dir: str, **more: str) -> dict[str, str]:
    """Return this environment with the settings a program under test gets."""
    own = {
        "REACTORCIDE_DB_URI": uri,
        "REACTORCIDE_DATA_DIR": data_dir,
        "REACTORCIDE_RATE_LIMIT": "off",
    }
    return {**os.environ, **own, **more}


def command(*words: str) -> list[str]:
    """Return the words that run `reactorcide …` with this interpreter."""
    return [str(Path(sys.executable).parent / "reactorcide"), *words]


@asynccontextmanager
async def child(
    words: Sequence[str], env: dict[str, str], port: int | None = None
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; with `port`, the block starts when it listens."""
    started = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220, S603 -- our own words, before anything is timed
    try:
        if port is not None:
            await _listening(port)
        yield started
    finally:
        started.terminate()
        try:
            await asyncio.to_thread(started.wait, DEADLINE_SECONDS)
        finally:
            started.kill()


async def _listening(port: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def make_token(env: dict[str, str]) -> str:
    """Make an admin's token straight in the database."""
    words = command("token", "create", "--user", "bench", "--role", "admin", "-o", "json")
    made = await asyncio.to_thread(
        subprocess.run, words, env=env, check=True, capture_output=True, timeout=DEADLINE_SECONDS
    )
    token: str = json.loads(made.stdout)["token"]
    return token


@asynccontextmanager
async def api_process(
    uri: str,
) -> AsyncIterator[tuple[subprocess.Popen[bytes], int, dict[str, str]]]:
    """Run `reactorcide serve`; give it, its port, and an environment that commands work in."""
    with tempfile.TemporaryDirectory(prefix="rc-bench-") as data_dir:
        port = free_port()
        env = environment(uri, data_dir, REACTORCIDE_API_URL=f"http://127.0.0.1:{port}")
        env["REACTORCIDE_API_TOKEN"] = await make_token(env)
        async with child(command("serve", "--port", str(port)), env, port) as started:
            yield started, port, env


@asynccontextmanager
async def api(uri: str) -> AsyncIterator[tuple[int, dict[str, str]]]:
    """Do the same where the program itself does not matter."""
    async with api_process(uri) as (_, port, env):
        yield port, env


async def until(connection: Connection, count: str, wanted: int) -> None:
    """Wait until a query counts to `wanted`."""
    deadline = time.monotonic() + 10 * DEADLINE_SECONDS
    while await connection.fetchval(count) != wanted:
        if time.monotonic() > deadline:
            msg = f"did not become {wanted}: {count}"
            raise TimeoutError(msg)
        await asyncio.sleep(0.05)
