"""Wake-ups between programs: ring after a commit, listen with a time limit.

A ring says "look again" and nothing else: it is never a fact, and a lost one costs the
listener's time limit, not an event. So: ring only after the commit, never inside of the
transaction (a NOTIFY there serializes all commits), and look once more after every wait.

One connection per program both listens and rings. It is probed, since a half-open socket says
nothing, and opened again when it broke; listeners are woken once it listens again, for what
was rung in between.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias, get_args

import asyncpg
import structlog

from reactorcide.eventstore.background import Background
from reactorcide.eventstore.database import (
    Connection,
    Database,
    DatabaseError,
    DatabaseUnavailable,
    database_errors,
)
from reactorcide.eventstore.settling import settle

Topic: TypeAlias = Literal["jobs", "control", "logs", "events"]

TOPICS: Final[tuple[Topic, ...]] = get_args(Topic)

_CHANNEL_PREFIX: Final = "reactorcide_"
_QUIET_SECONDS: Final = 0.005
_PROBE_SECONDS: Final = 9.0
_ANSWER_SECONDS: Final = 5.0
HALF_OPEN_SECONDS: Final = _PROBE_SECONDS + _ANSWER_SECONDS
"""So long a connection may be dead at the most before that is noticed."""
_LONGEST_PAUSE_SECONDS: Final = 5.0

# As one simple query: it costs half of a prepared one that takes the topics as an array.
_NOTIFY: Final = {topic: "NOTIFY " + _CHANNEL_PREFIX + topic for topic in TOPICS}

_PROBE: Final = "SELECT 1"

_log = structlog.get_logger(__name__)


class Sleeper:
    """One task that waits to be woken, and forgets no call that came while it was awake."""

    def __init__(self) -> None:
        self._is_called = False
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for a call: True when there was one since the last True, False at the limit.

        It may also be True without news (a connection came back): look again, find nothing.
        """
        if not self._is_called:
            # Not asyncio.timeout around an Event: a job waits for who wakes up here.
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_later(timeout_seconds, settle, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        is_called, self._is_called = self._is_called, False
        return is_called

    def wake(self) -> None:
        """Make the present wait, or the next one, end at once."""
        self._is_called = True
        if self._waiter is not None:
            settle(self._waiter)


class Listener(Sleeper):
    """Hears the rings of some topics while its `with` block lasts."""

    def __init__(self, doorbell: "Doorbell", topics: frozenset[Topic]) -> None:
        super().__init__()
        self.topics = topics
        self._doorbell = doorbell

    def __enter__(self) -> Self:
        """Hear from now on."""
        self._doorbell._listeners[self] = None  # noqa: SLF001  two halves of one thing
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hear no more."""
        self._doorbell._listeners.pop(self, None)  # noqa: SLF001  two halves of one thing


class Doorbell:
    """A program's one doorbell, for the topics it listens to.

    Use it as an async context manager; it owns a task and a connection.
    """

    def __init__(self, database: Database, topics: Iterable[Topic] = TOPICS) -> None:
        self._database = database
        self._topics = frozenset(topics)
        self._listeners: dict[Listener, None] = {}
        """In the order in which they are woken: who listened first is first."""
        self._unsent: set[Topic] = set()
        self._stirred = Sleeper()
        self._quiet_from = float("-inf")
        """When the next ring may go out; by the monotonic clock."""
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._background = Background({"doorbell": self._serve})
        self.losses = 0
        """How often it lost its connection."""

    @property
    def is_up(self) -> bool:
        """Whether it hears what others ring; while False, listeners live on their time limits."""
        return self._connection is not None and not self._connection.is_closed()

    async def __aenter__(self) -> Self:
        """Connect and listen. Raises DatabaseUnavailable."""
        await self._connect()
        self._background.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send what is still unsent, if the connection is up, and disconnect."""
        await self._background.stop()
        with contextlib.suppress(DatabaseError):
            await self._send()
        await self._disconnect()

    def ring(self, topic: Topic, within_seconds: float = 0.0) -> None:
        """Wake who listens to `topic`, here at once and elsewhere within milliseconds.

        To be called after the commit. The first ring goes out at once, those of the next 5 ms
        together; one that has so much time goes with the next, or when that is over.
        """
        self._wake(topic)
        self._unsent.add(topic)
        if within_seconds:
            asyncio.get_running_loop().call_later(within_seconds, self._stirred.wake)
        else:
            self._stirred.wake()

    def take_ring(self) -> bool:
        """Say whether a ring would go out now; if so it is the caller's, by a statement of its own.

        Listeners here hear of it as those elsewhere do, so these must be able to. What is rung in
        the next 5 ms goes out after them, as behind any other ring.
        """
        now = time.monotonic()
        hears = self.is_up or not self._listeners
        if self._unsent or now < self._quiet_from or not hears:
            return False
        self._quiet_from = now + _QUIET_SECONDS
        return True

    def listen(self, *topics: Topic) -> Listener:
        """Return a listener to some of the doorbell's topics (ValueError for another)."""
        if not self._topics.issuperset(topics):
            msg = f"this doorbell listens to {sorted(self._topics)} only"
            raise ValueError(msg)
        return Listener(self, frozenset(topics))

    async def _serve(self) -> None:
        """Ring and listen, on one connection after the other."""
        failures = 0
        while True:
            detail = "the server closed the connection"
            try:
                await self._connect()
                if self.losses:
                    _log.info("doorbell_listens_again", failures=failures)
                failures = 0
                await self._use()
            except DatabaseError as error:
                detail = error.detail
            _log.warning("doorbell_lost", detail=detail, failures=failures)
            self.losses += not failures
            self._hang_up()
            await asyncio.sleep(_pause_seconds(failures))
            failures += 1

    async def _use(self) -> None:
        """Send rings, and probe when there was none for long, until the connection breaks."""
        while self.is_up:
            if not await self._stirred.wait(_PROBE_SECONDS * random.uniform(0.5, 1)):  # noqa: S311  jitter
                await self._ask(_PROBE)
            elif (seconds := self._quiet_from - time.monotonic()) > 0:
                await asyncio.sleep(seconds)
                self._stirred.wake()
            else:
                await self._send()

    async def _send(self) -> None:
        """Send one NOTIFY for each topic rung, if any; they stay unsent when that fails."""
        sending, self._unsent = self._unsent, set()
        if not sending:
            return
        try:
            await self._ask("; ".join([_NOTIFY[topic] for topic in sorted(sending)]))
        except BaseException:
            self._unsent |= sending
            raise
        self._quiet_from = time.monotonic() + _QUIET_SECONDS

    async def _ask(self, sql: str) -> None:
        if self._connection is None:
            detail = "the doorbell is not connected"
            raise DatabaseUnavailable(detail)
        with database_errors():
            await self._connection.execute(sql, timeout=_ANSWER_SECONDS)

    async def _connect(self) -> None:
        """Connect unless connected; listen first, and only then wake the listeners."""
        if self.is_up:
            return
        # A NOTIFY is a commit of its own and holds a lock that all others need: it must not wait
        # for the disk. What a crash takes with it is a hint.
        connection = await self._database.connect_to_hear(synchronous_commit="off")
        try:
            with database_errors():
                async with asyncio.timeout(_ANSWER_SECONDS):
                    for topic in sorted(self._topics):
                        await connection.add_listener(_CHANNEL_PREFIX + topic, self._heard)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._lost)
        self._connection = connection
        self._stirred.wake()
        for listener in self._listeners:
            listener.wake()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=_ANSWER_SECONDS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()

    def _hang_up(self) -> None:
        """Give up a connection that broke: a half-open one would answer no farewell either."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _heard(self, connection: Connection, pid: int, channel: str, _payload: object) -> None:
        """Take a notification; one's own has woken the listeners here already."""
        if pid != connection.get_server_pid():
            self._wake(channel.removeprefix(_CHANNEL_PREFIX))

    def _lost(self, _connection: object) -> None:
        self._stirred.wake()

    def _wake(self, topic: str) -> None:
        for listener in self._listeners:
            if topic in listener.topics:
                listener.wake()


def _pause_seconds(failures: int) -> float:
    """Full jitter, doubling: at most 50 ms at first, at most 5 s in the end."""
    return random.random() * min(_LONGEST_PAUSE_SECONDS, 0.05 * 2.0**failures)  # noqa: S311  no secret
