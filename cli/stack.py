"""Everything on this machine: database, schema, admin, API, one worker. For `up` and `demo`."""

import asyncio
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reactorcide.cli import exits
from reactorcide.cli.children import Child, Signals, keep_running, stop_all
from reactorcide.cli.client import Client, Refused, Unreachable
from reactorcide.cli.credentials import Credentials, ensure_admin
from reactorcide.cli.exits import Stop
from reactorcide.cli.failures import told
from reactorcide.cli.listening import url_of
from reactorcide.cli.local import database_of, make_data_dir
from reactorcide.cli.settings import Settings
from reactorcide.migrations.runner import migrate_up

_LOCK: Final = "up.lock"
_READY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.03
# How long the worker may go on with what runs, then how long to give it back.
_PATIENCE_SECONDS: Final = (5.0, 10.0)
_API_PATIENCE_SECONDS: Final = (10.0,)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be started."""

    settings: Settings
    listening: socket.socket
    """The API's."""
    keeps_url: bool
    """Write the API's address into the credentials file."""
    worker_flags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Stack:
    """All of it, running."""

    url: str
    credentials: Credentials
    children: Sequence[Child]
    signals: Signals

    def keep(self, tell: Callable[[str], None]) -> None:
        """Keep it running until StopAsked."""
        keep_running(self.children, self.signals, tell)


@contextmanager
def data_dir_lock(data_dir: Path, url: str) -> Iterator[None]:
    """Hold the data dir for ourselves. Stops the command when another `up` holds it."""
    make_data_dir(data_dir)
    with (data_dir / _LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Stop(
                exits.UNAVAILABLE,
                f"`reactorcide up` runs already on {data_dir}{_holder(lock.name)}",
            ) from None
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "url": url}))
        lock.flush()
        yield


def is_in_use(data_dir: Path) -> bool:
    """Say whether an `up` runs on the data dir."""
    try:
        with (data_dir / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def running_stack(plan: Plan, signals: Signals, tell: Callable[[str], None]) -> Iterator[Stack]:
    """Start it all, wait until the API answers; stop it all at the end of the block.

    Data stay where they are.
    """
    settings, url = plan.settings, url_of(plan.listening)
    with data_dir_lock(settings.data_dir, url), told():
        tell("starting the database")
        with database_of(settings) as uri:
            applied = migrate_up(uri)
            tell(f"the schema is ready ({len(applied)} migrations applied)")
            credentials = asyncio.run(
                ensure_admin(uri, settings.credentials_file, url if plan.keeps_url else None)
            )
            api, worker = _children(plan, uri)
            try:
                api.start()
                worker.start()
                _await_ready(url, api, worker)
                yield Stack(url, credentials, (api, worker), signals)
            finally:
                # The worker first: what it still prints can be followed to the end.
                stop_all([worker], signals, _PATIENCE_SECONDS)
                stop_all([api], signals, _API_PATIENCE_SECONDS)


def _children(plan: Plan, uri: str) -> tuple[Child, Child]:
    # -P: the working directory is no place to import from.
    command = (sys.executable, "-P", "-m", "reactorcide.cli.main")
    environment = {
        **os.environ,
        "REACTORCIDE_DB_URI": uri,
        "REACTORCIDE_DATA_DIR": str(plan.settings.data_dir),
    }
    descriptor = plan.listening.fileno()
    api = Child("the API", (*command, "serve", "--fd", str(descriptor)), environment, (descriptor,))
    return api, Child("the worker", (*command, "worker", *plan.worker_flags), environment)


def _await_ready(url: str, api: Child, worker: Child) -> None:
    """Wait until the API answers; stop the command when one of the two can't even start."""
    client = Client(url, None)
    deadline = time.monotonic() + _READY_SECONDS
    while not _is_ready(client):
        for child in (api, worker):
            code = child.exit_code()
            if code is not None:
                raise Stop(code if code > 0 else exits.UNAVAILABLE, f"{child.name} did not start")
        if time.monotonic() > deadline:
            raise Stop(exits.UNAVAILABLE, f"the API was not ready in {_READY_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)


def _is_ready(client: Client) -> bool:
    try:
        client.call("GET", "/readyz")
    except (Unreachable, Refused):
        return False
    else:
        return True
    finally:
        client.close()


def _holder(path: str) -> str:
    try:
        held = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return ""
    return f" (process {held.get('pid')}, {held.get('url')})"
