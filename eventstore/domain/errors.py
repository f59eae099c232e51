"""Why a command was refused.

    CommandRejected
    ├── NotFound          there is no such job, token, user or worker
    ├── NotLegal          not allowed in the present status (carries it)
    │   └── NotLeaseHolder  the attempt that writes is no longer the one that runs
    ├── AlreadyTaken      a name or address that must be unique belongs to another
    └── NotGranted        asks for more than the caller may give

Each carries fields, not only text: shells render them, rules never print.
"""


class CommandRejected(Exception):  # noqa: N818  it is named for what happened, as its kin below
    """A command that the rules refuse. Nothing was recorded."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotFound(CommandRejected):
    """The stream has no events, or was deleted."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"no such {kind}")
        self.kind = kind


class NotLegal(CommandRejected):
    """The command is not legal in `current_status`."""

    def __init__(self, detail: str, current_status: str) -> None:
        super().__init__(detail)
        self.current_status = current_status


class NotLeaseHolder(NotLegal):
    """A write by `attempt`, which does not hold the lease any more (or never did)."""

    def __init__(self, attempt: int, current_attempt: int, current_status: str) -> None:
        super().__init__(
            f"attempt {attempt} does not hold the lease; "
            f"the job is {current_status} at attempt {current_attempt}",
            current_status,
        )
        self.attempt = attempt
        self.current_attempt = current_attempt


class AlreadyTaken(CommandRejected):
    """`field` must be unique and its value belongs to another."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} is already taken")
        self.field = field


class NotGranted(CommandRejected):
    """The caller asks for more than it may give (`what`)."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class IllegalTransition(Exception):  # noqa: N818  as above
    """A recorded event that no TRANSITIONS row allows: the history is corrupt."""

    def __init__(self, stream_type: str, status: str, event_type: str) -> None:
        super().__init__(f"corrupt history: {event_type} does not follow {stream_type} {status}")
        self.stream_type = stream_type
        self.status = status
        self.event_type = event_type
