"""One attempt, from its claim to nothing left of it: prepare, start, execute, settle, clean.

It takes no decision about the job: it says how the attempt ended, as a value.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, assert_never

import structlog

from reactorcide.eventstore.domain.errors import CommandRejected, NotLeaseHolder
from reactorcide.eventstore.domain.job import (
    Cancelled,
    Completed,
    Failed,
    Outcome,
    Released,
    TimedOut,
)
from reactorcide.eventstore.objects import ObjectStoreError
from reactorcide.worker.artifact_files import Unkept, opened_directory
from reactorcide.worker.artifacts import Keeper, Stopped, unless_halted, without_artifacts
from reactorcide.worker.attempt_log import AttemptLog
from reactorcide.worker.coordinator import ClaimedAttempt, Coordinator, SecretsUnreadable
from reactorcide.worker.environment import environment_of, mark_of
from reactorcide.worker.halt import Deadline, Halt, HaltReason
from reactorcide.worker.log_cap import LogCap
from reactorcide.worker.reach import Lost, Reach
from reactorcide.worker.runner import Command, CommandLost, CommandNotStarted, Runner
from reactorcide.worker.secrets import NO_SECRETS
from reactorcide.worker.settings import WorkerSettings
from reactorcide.worker.shell import argv_of
from reactorcide.worker.source import Halted, Place, fetch_source, make_directories
from reactorcide.worker.spool import Spool
from reactorcide.worker.workspace import PreparationFailed, Workspace
from reactorcide.worker.workspaces import Workspaces

_HALTED_SECONDS: Final = 10.0
"""Who asked for a stop does not wait longer than this for artifacts."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tools:
    """What every attempt of a worker works with."""

    settings: WorkerSettings
    coordinator: Coordinator
    runner: Runner
    spool: Spool = field(default_factory=lambda: Spool(None))
    workspaces: Workspaces = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "workspaces", Workspaces(self.settings.workspace_root))


@dataclass(slots=True)
class _Story:
    """What the one log line about an attempt tells."""

    began: float = field(default_factory=time.monotonic)
    prepared_seconds: float | None = None
    log_bytes: int = 0
    outcome: str = "lost"
    exit_code: int | None = None
    error: str | None = None


async def run_attempt(
    claimed: ClaimedAttempt, tools: Tools, halt: Halt, ended: Callable[[], None]
) -> None:
    """Run an attempt to its end; never raises but for its own cancellation.

    `ended` is called once nothing of it is left on this machine, before its outcome is reported:
    its slot is free then, its lease is not. Cancelled, it kills the command, removes the workspace
    and reports nothing: the lease ends by itself.
    """
    attempt = _Attempt(claimed, tools, halt)
    try:
        await attempt.run(ended)
    except Exception:  # noqa: BLE001  the edge of an attempt: its worker lives on, its lease ends
        _log.exception("attempt_not_settled", **attempt.names())
    story = attempt.story
    _log.info(
        "attempt_ended",
        **attempt.names(),
        outcome=story.outcome,
        exit_code=story.exit_code,
        error=story.error,
        seconds=round(time.monotonic() - story.began, 4),
        prepared_seconds=story.prepared_seconds,
        log_bytes=story.log_bytes,
    )


class _Attempt:
    def __init__(self, claimed: ClaimedAttempt, tools: Tools, halt: Halt) -> None:
        self._claimed = claimed
        self._submitted = claimed.submitted
        self._tools = tools
        self._halt = halt
        self._reach = Reach(claimed.key, tools.coordinator, tools.spool, halt)
        self._secrets = NO_SECRETS
        self.story = _Story()

    def names(self) -> dict[str, str | int]:
        """Return what tells this attempt from others in the worker's log."""
        return {
            "job_id": str(self._claimed.key.job_id),
            "attempt": self._claimed.key.attempt,
            "worker_id": str(self._tools.coordinator.worker_id),
            "queue_name": self._submitted.queue_name,
        }

    async def run(self, ended: Callable[[], None]) -> None:
        """Take the steps; whatever happens, the workspace goes."""
        workspace: Workspace | None = None
        try:
            try:
                workspace = self._tools.workspaces.take()
                outcome = await self._outcome(workspace)
            except (PreparationFailed, SecretsUnreadable, CommandNotStarted, CommandLost) as error:
                outcome = Failed(None, _printable(error.detail))
            except Lost:
                return
            except Exception as error:  # noqa: BLE001  the edge of an attempt: its worker lives on
                _log.exception("attempt_broken", **self.names())
                outcome = Failed(None, f"the worker failed: {type(error).__name__}")
        finally:
            if workspace is not None:
                await self._tools.workspaces.give_back(workspace)
            ended()
        await self._settle(self._secrets.hide_in(outcome))

    async def _outcome(self, workspace: Workspace) -> Outcome:
        """Prepare, start and execute. Raises Lost."""
        try:
            command, output = await self._prepare(workspace)
        except Halted:
            return self._halted(None)
        if self._halt.is_asked:
            return self._halted(None)
        await self._start()
        outcome = await self._execute(command, output)
        if isinstance(outcome, Released):  # another attempt does it all again
            return outcome
        if self._tools.workspaces.is_untouched(workspace):
            return outcome
        try:
            with opened_directory(workspace.artifacts) as directory:
                if directory is not None:
                    return await self._with_artifacts(outcome, directory, output)
        except Unkept as unkept:
            await output.report([f"artifacts refused: the directory {unkept.reason}"])
        return outcome

    async def _prepare(self, workspace: Workspace) -> tuple[Command, AttemptLog]:
        """Bring the source, open the secrets, build the environment."""
        submitted, key = self._submitted, self._claimed.key
        coordinator, settings = self._tools.coordinator, self._tools.settings
        secrets = await self._reach.ask(lambda: coordinator.open_secrets(self._claimed))
        self._secrets = secrets
        mark = mark_of(*key)
        if submitted.source_type == "none":
            make_directories(submitted, workspace)
        else:
            place = Place(workspace, settings.copy_roots, mark, self._tools.runner.plain)
            with self._deadline():
                await fetch_source(submitted, place, self._halt, secrets)
        environment = environment_of(
            key=key,
            worker_id=coordinator.worker_id,
            submitted=submitted,
            secrets=secrets.variables,
            workspace=workspace,
        )
        if submitted.job_command is None:
            msg = "the job has no command to run"
            raise PreparationFailed(msg)
        argv = argv_of(submitted.job_command, workspace)
        cwd = workspace.path_of(submitted.job_dir)
        self.story.prepared_seconds = round(time.monotonic() - self.story.began, 4)
        cap = LogCap(settings.log_bytes)
        output = AttemptLog(coordinator, key, secrets, self._halt, cap)
        image = submitted.runner_image
        return Command(argv, cwd, environment, mark, workspace, image), output

    async def _start(self) -> None:
        """Record the start unless it is. Raises Lost: the command must not run."""
        if self._claimed.is_started:
            return
        try:
            await self._reach.ask(lambda: self._tools.coordinator.start(self._claimed.key))
        except CommandRejected as error:
            raise Lost from error

    async def _execute(self, command: Command, output: AttemptLog) -> Outcome:
        """Run the command within its time; all that it printed is sent when this returns."""
        try:
            with self._deadline():
                ended = await self._tools.runner.run(command, output, self._halt)
        except CommandLost:
            await output.finish()
            raise
        await output.finish()
        self.story.log_bytes = output.bytes
        self.story.exit_code = ended.exit_code
        if ended.was_halted:
            return self._halted(ended.exit_code)
        outcome: Outcome = Completed()
        if ended.exit_code != 0:
            outcome = Failed(ended.exit_code, ended.words)
        # Since it ended: perhaps its lease is over, perhaps nobody was heard.
        if self._reach.is_lost:
            await self._reach.keep(outcome, output.unsent)
            raise Lost
        return outcome

    async def _with_artifacts(
        self, outcome: Outcome, directory: int, output: AttemptLog
    ) -> Outcome:
        """Keep what the command left; return what its outcome is then. Raises Lost."""
        tools, settings = self._tools.coordinator, self._tools.settings
        keeper = Keeper(
            self._claimed.key,
            tools.artifacts,
            self._reach.ask,
            tools.objects,
            settings.artifact_limits,
            output.hides,
        )
        seconds = _HALTED_SECONDS if self._halt.is_asked else settings.artifact_seconds
        try:
            refused = await unless_halted(keeper.keep(directory), self._halt, seconds)
        except Stopped:
            return self._halted(self.story.exit_code)
        except NotLeaseHolder as error:
            raise Lost from error
        except (ObjectStoreError, TimeoutError) as error:
            detail = getattr(error, "detail", f"that took longer than {seconds:g} s")
            reason = f"its artifacts could not be kept: {_printable(detail)}"
            await output.report([reason])
            return without_artifacts(outcome, reason)
        await output.report(refused)
        return outcome

    def _halted(self, exit_code: int | None) -> Outcome:
        """Return the outcome of an attempt that was asked to stop. Raises Lost."""
        match self._halt.reason:
            case HaltReason.DRAIN:
                return Released("the worker stops")
            case HaltReason.TIMEOUT:
                limit = self._submitted.timeout_seconds
                return TimedOut(exit_code, f"ran longer than {limit} s")
            case HaltReason.CANCEL:
                return Cancelled(exit_code)
            case HaltReason.LOST | None:
                raise Lost
            case _:
                assert_never(self._halt.reason)

    async def _settle(self, outcome: Outcome) -> None:
        """Report the outcome, if it still counts; what is not heard stays in the spool."""
        key, coordinator = self._claimed.key, self._tools.coordinator
        try:
            await self._reach.ask(lambda: coordinator.finish(key, outcome), outcome)
        except Lost:
            return
        except CommandRejected as error:
            self.story.error = f"refused: {error.detail}"
            self._reach.forget()
            return
        self._reach.forget()
        self.story.outcome = type(outcome).__name__.lower()
        self.story.error = getattr(outcome, "error", None)

    def _deadline(self) -> Deadline:
        return Deadline(
            self._halt, self._submitted.timeout_seconds, self._tools.settings.grace_seconds
        )


def _printable(text: str) -> str:
    """Return text that PostgreSQL and JSON can hold."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
