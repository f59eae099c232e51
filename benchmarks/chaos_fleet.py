"""What chaos breaks: a server and worker processes, with what is done to them, by seed.

It starts them, hurts them and starts them again. It judges nothing.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from reactorcide.benchmarks.servers import command, environment
from reactorcide.cli import exits
from reactorcide.cli.embedded import SETTINGS, EmbeddedPostgres
from reactorcide.cli.postmaster import running_postmaster
from reactorcide.worker.supervisor import kinship

_END_SECONDS: Final = 60.0
_TEND_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Plan:
    """How much there is, and how often what happens. Times in seconds; 0: never."""

    jobs: int
    workers: int
    slots: int
    seconds: float
    """Faults end after so long at the latest."""
    lease: int
    kill_every: float
    restart_every: float
    stop_every: float
    seed: int
    command_seconds: float = 0.3


def tell(text: str) -> None:
    """Say how far it is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


@dataclass(slots=True)
class Fleet:
    """The workers, and the server that they share."""

    plan: Plan
    home: Path
    uri: str = ""
    kills: int = 0
    restarts: int = 0
    stops: int = 0
    bad_exits: int = 0
    """Workers that ended otherwise than they should: see `_note_end`."""
    seconds: float = 0
    """How long there were faults."""
    felled: set[int] = field(default_factory=set)
    """Process ids of workers that were killed or stopped."""
    _workers: list["subprocess.Popen[bytes] | None"] = field(default_factory=list)
    _stopped: set[int] = field(default_factory=set)
    _server: EmbeddedPostgres | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """Held by whoever starts or stops the server: each in a thread, and one may be given up."""
    _is_over: bool = False

    def start(self) -> None:
        """Start the server."""
        settings = {**SETTINGS, "max_connections": "300"}
        with self._turn:
            self._server = EmbeddedPostgres(self.home / "server", None, settings)
            self.uri = self._server.start()

    def log_of(self, number: int) -> str:
        """Return the end of what a worker said."""
        log = (self.home / f"worker-{number}" / "log").read_bytes()
        return log[-2000:].decode(errors="replace")

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that were started last."""
        return [worker.pid for worker in self._workers if worker is not None]

    @property
    def has_struck(self) -> bool:
        """Whether everything of the plan has happened at least once."""
        plan = self.plan
        happened = (
            (plan.kill_every, self.kills),
            (plan.restart_every, self.restarts),
            (plan.stop_every, self.stops),
        )
        return all(times for pace, times in happened if pace)

    def start_workers(self) -> None:
        """Start all workers; those that run are left alone."""
        self._workers = self._workers or [None] * self.plan.workers
        for number, worker in enumerate(self._workers):
            if worker is None or worker.poll() is not None:
                self._note_end(number, {exits.UNAVAILABLE})
                self._workers[number] = self._start_worker(number)

    def _note_end(self, number: int, allowed: Collection[int]) -> None:
        """Count a worker that ended by itself, or with another code than it may."""
        worker = self._workers[number]
        if worker is None or worker.returncode in allowed:
            return
        self.bad_exits += 1
        code, tail = worker.returncode, self.log_of(number)
        tell(f"worker {number} ended with {code}; the end of its log: {tail}")

    async def tend(self) -> None:
        """Start again what ended by itself, as an init system would: its server was away."""
        while True:
            self.start_workers()
            await asyncio.sleep(_TEND_SECONDS)

    def _start_worker(self, number: int) -> "subprocess.Popen[bytes]":
        home = self.home / f"worker-{number}"
        home.mkdir(exist_ok=True)
        env = environment(self.uri, str(home), REACTORCIDE_LEASE_SECONDS=str(self.plan.lease))
        words = command(
            "worker", "--name", f"chaos-{number}", "--concurrency", str(self.plan.slots)
        )
        with (home / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603  our own words
                words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill_worker(self, dice: Random) -> None:
        """Kill one with -9, and start another in its place."""
        number = dice.randrange(self.plan.workers)
        worker = self._workers[number]
        if worker is None or worker.pid in self._stopped:
            return
        if worker.poll() is None:
            self.kills += 1
            self.felled.add(worker.pid)
            worker.kill()
            worker.wait()
        else:
            self._note_end(number, {exits.UNAVAILABLE})
        self._workers[number] = self._start_worker(number)

    async def stop_worker(self, dice: Random) -> None:
        """Stop one with SIGSTOP for two leases."""
        worker = self._workers[dice.randrange(self.plan.workers)]
        if worker is None or worker.poll() is not None or worker.pid in self._stopped:
            return
        async with self.stopped(worker.pid):
            await asyncio.sleep(2 * self.plan.lease)

    @asynccontextmanager
    async def stopped(self, pid: int) -> AsyncIterator[None]:
        """Stop a worker with SIGSTOP for the length of the block."""
        self.stops += 1
        self.felled.add(pid)
        self._stopped.add(pid)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
            self._stopped.discard(pid)

    def kill(self, pid: int, *, family: bool) -> None:
        """Kill a worker with -9; `family`: its supervisor and its commands at the same moment."""
        worker = next(one for one in self._workers if one is not None and one.pid == pid)
        doomed = kinship.descendants([pid]) if family else {pid}
        self.kills += 1
        self.felled.add(pid)
        kinship.send(doomed, signal.SIGKILL)
        worker.wait()
        self._workers[self._workers.index(worker)] = None

    def restart_server(self) -> None:
        """Stop the server as `pg_ctl stop -m immediate` does, and start it again."""
        assert self._server is not None  # noqa: S101  it was started
        with self._turn:
            if self._is_over:
                return
            running = running_postmaster(self._server.data)
            if running is not None:
                os.kill(running.pid, signal.SIGQUIT)
                while running_postmaster(self._server.data) is not None:
                    time.sleep(0.02)
            self._server.start()
        self.restarts += 1

    def end_workers(self) -> None:
        """Tell all workers to end, and look how they do; one that had ended was without server."""
        running = [nth for nth, one in enumerate(self._workers) if one and one.poll() is None]
        workers = [worker for nth in running if (worker := self._workers[nth])]
        # Nobody is there to hear it in one that has only just been started.
        allowed = [
            {exits.DONE} if _hears_sigterm(worker.pid) else {exits.DONE, -signal.SIGTERM}
            for worker in workers
        ]
        for worker in workers:
            worker.terminate()
        deadline = time.monotonic() + _END_SECONDS
        for number, worker, codes in zip(running, workers, allowed, strict=True):
            try:
                worker.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            self._note_end(number, codes)

    def end(self) -> None:
        """End all that is left."""
        for worker in self._workers:
            if worker is not None and worker.poll() is None:
                worker.kill()
                worker.wait()
        with self._turn:
            self._is_over = True
            if self._server is not None:
                self._server.stop()


def _hears_sigterm(pid: int) -> bool:
    """Whether a process has a handler of its own for SIGTERM (proc(5); elsewhere: assume so)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


async def rage(fleet: Fleet, dice: Random, is_over: Callable[[], bool]) -> None:
    """Do what the plan says, by the clock, until it is over; what is stopped goes on then."""
    plan, began = fleet.plan, time.monotonic()
    paces = {"kill": plan.kill_every, "restart": plan.restart_every, "stop": plan.stop_every}
    due = {what: began + pace for what, pace in paces.items() if pace}
    stops: list[asyncio.Task[None]] = []
    try:
        while due and not is_over() and time.monotonic() - began < plan.seconds:
            what = min(due, key=due.__getitem__)
            await asyncio.sleep(max(due[what] - time.monotonic(), 0))
            due[what] += paces[what]
            match what:
                case "kill":
                    fleet.kill_worker(dice)
                case "restart":
                    await asyncio.to_thread(fleet.restart_server)
                case _:
                    stops.append(asyncio.create_task(fleet.stop_worker(dice)))
    finally:
        for stop in stops:
            stop.cancel()
        await asyncio.gather(*stops, return_exceptions=True)
        fleet.seconds = time.monotonic() - began
