"""The commands that run, each with all that descends from it, and their ends.

To a command belongs who descends from it, and, where there are such, who is in its control group.
Whose an orphan is, its mark says. One without a mark that is known (a command may lower its limits)
may be anybody's who ran when it was found: it dies with the last of them, if no group tells, so
that no command is hurt by another one's end.
"""

import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Final

from reactorcide.worker.spawning import start
from reactorcide.worker.supervisor import kinship
from reactorcide.worker.supervisor.cgroups import Groups
from reactorcide.worker.supervisor.clock import boot_seconds
from reactorcide.worker.supervisor.group import NoGroup
from reactorcide.worker.supervisor.messages import Ended, Hold, Start
from reactorcide.worker.supervisor.plain import plain_words

_DEATH_SECONDS: Final = 5.0
"""What KILL does not end in this time hangs in the system, and is not waited for."""

_AGAIN_SECONDS: Final = 0.01
_ROUNDS: Final = 3
_NEVER: Final = float("inf")


class Tree:
    """One command and its descendants. Leads a session of its own."""

    __slots__ = (
        "again_at",
        "attempt",
        "dying_since",
        "exit_code",
        "group",
        "is_lost",
        "kill_at",
        "leader",
        "mark",
        "number",
        "until",
    )

    def __init__(self, request: Start, leader: int, mark: int | None, group: NoGroup) -> None:
        self.number = request.tree
        self.attempt = request.attempt
        self.until = request.until
        """When it is killed if nobody asks for it before."""
        self.leader = leader
        self.mark = mark
        self.group = group
        self.exit_code: int | None = None
        """Known once the leader has ended."""
        self.kill_at = _NEVER
        """When a grace that was given is over."""
        self.dying_since = _NEVER
        self.again_at = _NEVER
        self.is_lost = False
        """Its leader was killed because the attempt's time was over."""

    @property
    def has_ended(self) -> bool:
        """Whether the leader has."""
        return self.exit_code is not None

    @property
    def dies_at(self) -> float:
        """When it is killed, as things stand."""
        return min(self.until, self.kill_at)

    @property
    def look_at(self) -> float:
        """When there is something to do about it."""
        return self.dies_at if self.dying_since == _NEVER else self.again_at


class Trees:
    """All that runs."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._trees: dict[int, Tree] = {}
        self._leaders: dict[int, Tree] = {}
        self._owners: dict[int, set[int]] = {}
        """Of the orphans that were looked at: whose each may be, of the trees that live."""
        self._undead: set[int] = set()
        self._last_mark = 0
        self._next_at = _NEVER
        """Nothing is due before."""

    def start(self, request: Start, outputs: Sequence[int]) -> None:
        """Start a command. Raises OSError and ValueError like `spawning.start`."""
        mark = kinship.mark_next()
        self._last_mark = self._last_mark if mark is None else mark
        group = self._groups.new(request.tree)
        try:
            leader = _born(request, outputs, group)
        except (OSError, ValueError):
            group.remove()
            raise
        tree = Tree(request, leader, mark, group)
        self._trees[tree.number] = self._leaders[leader] = tree
        self._next_at = min(self._next_at, tree.look_at)

    def halt(self, number: int, grace_seconds: float) -> None:
        """TERM to all of a tree unless it got one before, and KILL after the grace."""
        tree = self._trees.get(number)
        if tree is None:
            return
        if tree.kill_at == _NEVER and grace_seconds > 0:
            self._send(tree, signal.SIGTERM)
        tree.kill_at = min(tree.kill_at, boot_seconds() + grace_seconds)
        self._next_at = min(self._next_at, tree.look_at)

    def hold(self, word: Hold) -> None:
        """Let attempts go on for longer, and give up those that are lost."""
        held, lost = set(word.held), set(word.lost)
        for tree in self._trees.values():
            if tree.attempt in held:
                tree.until = max(tree.until, word.until)
            elif tree.attempt in lost:
                self._next_at = tree.until = -_NEVER

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._trees)

    def next_at(self) -> float:
        """Return when `look` must be called at the latest; to call it earlier does no harm."""
        return self._next_at

    def look(self) -> list[Ended]:
        """Kill what has to die by now, and return what has ended with nothing left of it."""
        self._reap()
        now = boot_seconds()
        is_time, trees = self._next_at <= now, self._trees.values()
        due = [
            one for one in trees if one.exit_code is not None or (is_time and one.look_at <= now)
        ]
        ends = [end for tree in due if (end := self._settled(tree, now)) is not None]
        if is_time:
            self._next_at = min((tree.look_at for tree in trees), default=_NEVER)
        return ends

    def kill_all(self) -> bool:
        """Kill all there is; return whether nothing is left: no child, and nobody in a group."""
        has_empty_groups = self._groups.end()
        for tree in self._trees.values() if not kinship.HAS_PROC else ():
            kinship.send_group(tree.leader, signal.SIGKILL)
        for _ in range(_ROUNDS):
            left = kinship.children()
            kinship.send(left, signal.SIGKILL)
            kinship.send(kinship.descendants(left), signal.SIGKILL)
            for _pid in kinship.reaped():
                pass
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return has_empty_groups
        return False

    def _settled(self, tree: Tree, now: float) -> Ended | None:
        """Kill what is left of a tree if its time has come; return its end if nothing is left."""
        tree.is_lost |= tree.until <= now and not tree.has_ended
        if (tree.has_ended and tree.kill_at == _NEVER) or tree.dies_at <= now:
            tree.dying_since = min(tree.dying_since, now)
            is_left = self._kill(tree)
        else:
            is_left = self._is_left(tree)
        if is_left and now < tree.dying_since + _DEATH_SECONDS:
            return None
        if is_left:
            self._undead |= self._roots(tree)
        tree.group.remove()
        del self._trees[tree.number]
        self._leaders.pop(tree.leader, None)
        for owners in self._owners.values():
            owners.discard(tree.number)
        return Ended(tree.number, tree.exit_code, tree.is_lost)

    def _kill(self, tree: Tree) -> bool:
        """Kill all of a tree; return whether something is left: it dies in the next round."""
        for _ in range(_ROUNDS):
            if not self._send(tree, signal.SIGKILL):
                return False
            self._reap()
        tree.again_at = boot_seconds() + _AGAIN_SECONDS
        self._next_at = min(self._next_at, tree.again_at)
        return self._is_left(tree)

    def _send(self, tree: Tree, number: signal.Signals) -> bool:
        """Send a signal to all of a tree; return whether there was anybody."""
        if not kinship.HAS_PROC:
            kinship.send_group(tree.leader, number)
            return not tree.has_ended
        roots = self._roots(tree)
        if not roots and tree.group.is_empty():
            return False
        if number is signal.SIGKILL:
            tree.group.kill()
            kinship.send(roots, number)  # at once: who forks all the time is gone in a moment
        kinship.send(kinship.descendants(roots | tree.group.pids()), number)
        return True

    def _is_left(self, tree: Tree) -> bool:
        """Return whether anything of a tree is left, dead ones that were not reaped too."""
        return bool(self._roots(tree)) or not tree.group.is_empty()

    def _reap(self) -> None:
        for pid, status in kinship.reaped():
            self._owners.pop(pid, None)
            self._undead.discard(pid)
            tree = self._leaders.pop(pid, None)
            if tree is not None:
                code = os.waitstatus_to_exitcode(status)
                tree.exit_code = 128 - code if code < 0 else code

    def _roots(self, tree: Tree) -> set[int]:
        """Return those children of ours from which all descends that is left of a tree.

        What belongs to nobody that lives counts as its own.
        """
        roots = {pid for pid in self._orphans() if self._owners[pid] <= {tree.number}}
        return roots if tree.has_ended else roots | {tree.leader}

    def _orphans(self) -> frozenset[int]:
        """Return the children that commands left to us, and note whose each may be."""
        orphans = kinship.children() - self._leaders.keys() - self._undead
        for pid in orphans - self._owners.keys():
            mark = kinship.mark_of(pid)
            owners = {tree.number for tree in self._trees.values() if tree.mark == mark}
            is_known = mark is not None and mark >= self._last_mark
            self._owners[pid] = owners if is_known else set(self._trees)
        return orphans


def _born(request: Start, outputs: Sequence[int], group: NoGroup) -> int:
    """Start the command of a tree in its group; return its pid. Raises as `spawning.start`."""
    cwd, environment, pair = request.cwd, request.environment, (outputs[0], outputs[1])
    words = plain_words(request.argv)
    with group.opened() as descriptor:
        if words is not None:
            with contextlib.suppress(OSError):
                # As a shell hands it on.
                return start(words, cwd, {**environment, "PWD": cwd}, pair, descriptor)
        return start(request.argv, cwd, environment, pair, descriptor)
