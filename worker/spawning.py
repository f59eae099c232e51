"""Starts programs: posix_spawn(3), which copies nothing of this process and runs no Python in it.

Called through ctypes for what `os.posix_spawn` has no words for: the directory, and closing all
other descriptors (posix_spawn_file_actions_addclosefrom_np, glibc 2.34). Where the C library has
no such thing, `subprocess` does the same at twice the price. A program is born in another control
group where posix_spawnattr_setcgroup_np is known (glibc 2.39). Nothing here waits for an end.
"""

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_char_p, c_int, c_short, c_void_p
from typing import Final, TypeAlias

_SETSIGDEF: Final = 0x04  # spawn.h of glibc
_SETSID: Final = 0x80
_SETCGROUP: Final = 0x100
_OPAQUE_WORDS: Final = 128
"""More than any of spawn.h's structures takes: the largest has 336 bytes."""

_PYTHON_IGNORES: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores, and with it whatever it starts, unless they are reset."""

_ARGUMENTS: Final = {
    "sigemptyset": (c_void_p,),
    "sigaddset": (c_void_p, c_int),
    "posix_spawnattr_init": (c_void_p,),
    "posix_spawnattr_setflags": (c_void_p, c_short),
    "posix_spawnattr_setsigdefault": (c_void_p, c_void_p),
    "posix_spawn_file_actions_init": (c_void_p,),
    "posix_spawn_file_actions_destroy": (c_void_p,),
    "posix_spawn_file_actions_addopen": (c_void_p, c_int, c_char_p, c_int, c_int),
    "posix_spawn_file_actions_adddup2": (c_void_p, c_int, c_int),
    "posix_spawn_file_actions_addclosefrom_np": (c_void_p, c_int),
    "posix_spawn_file_actions_addchdir_np": (c_void_p, c_char_p),
    "posix_spawn": (
        POINTER(c_int),
        c_char_p,
        c_void_p,
        c_void_p,
        POINTER(c_char_p),
        POINTER(c_char_p),
    ),
}

_Opaque = ctypes.c_longlong * _OPAQUE_WORDS
_Words: TypeAlias = "ctypes.Array[ctypes.c_longlong]"


def start(
    argv: Sequence[str],
    cwd: "str | os.PathLike[str]",
    environment: Mapping[str, str],
    outputs: tuple[int, int],
    group: int | None = None,
) -> int:
    """Start a program that leads a session and reads nothing; return its pid.

    It has exactly this environment and, but for its outputs, none of our descriptors. It is born in
    the control group whose directory is given, or where that cannot be, in ours. Raises OSError,
    and ValueError for what no program can be given (a NUL, a name with `=`).
    """
    if SPAWNER is None or min(outputs) <= 2:  # noqa: PLR2004  dup2 would run over them
        return start_by_subprocess(argv, cwd, environment, outputs)
    program = _found(argv[0], os.fspath(cwd), environment)
    return SPAWNER.start(
        program,
        (
            _encoded(argv),
            _entries(environment),
        ),
        _encoded([os.fspath(cwd)])[0],
        outputs,
        group,
    )


class _Spawner:
    """The C library's posix_spawn with what is the same for all that is started."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Look the functions up. Raises AttributeError when one is lacking."""
        for name, types in _ARGUMENTS.items():
            getattr(library, name).argtypes = types
        self._library = library
        self._attributes = _Opaque()
        self._attributes_in_group = _Opaque()
        self.knows_groups = hasattr(library, "posix_spawnattr_setcgroup_np")  # glibc 2.39
        signals = _Opaque()
        library.sigemptyset(signals)
        for number in _PYTHON_IGNORES:
            library.sigaddset(signals, number)
        flags = _SETSID | _SETSIGDEF
        self._set(self._attributes, signals, flags)
        self._set(self._attributes_in_group, signals, flags | _SETCGROUP)

    def start(
        self,
        program: bytes,
        words: tuple[Sequence[bytes], Sequence[bytes]],
        cwd: bytes,
        outputs: tuple[int, int],
        group: int | None,
    ) -> int:
        """Start a program with its arguments and environment; return its pid. Raises OSError."""
        pid = c_int()
        actions = self._actions(cwd, outputs)
        argv, environment = map(_strings, words)
        try:
            number = -1
            if group is not None:
                number = self._library.posix_spawn(
                    pid, program, actions, self._in_group(group), argv, environment
                )
            if number:  # also if it may not be born there: nothing was started then
                number = self._library.posix_spawn(
                    pid, program, actions, self._attributes, argv, environment
                )
        finally:
            self._library.posix_spawn_file_actions_destroy(actions)
        if number:
            # Which of the two is missing, the number does not say.
            where = program if number != errno.ENOENT or os.path.isdir(cwd) else cwd  # noqa: PTH112
            raise OSError(number, os.strerror(number), os.fsdecode(where))
        return pid.value

    def _set(self, attributes: "_Words", signals: "_Words", flags: int) -> None:
        self._library.posix_spawnattr_init(attributes)
        self._library.posix_spawnattr_setsigdefault(attributes, signals)
        self._library.posix_spawnattr_setflags(attributes, flags)

    def _in_group(self, group: int) -> "_Words":
        """Say that the child is born in a group; who asks for it does so from one thread."""
        if not self.knows_groups:
            return self._attributes
        self._library.posix_spawnattr_setcgroup_np(self._attributes_in_group, group)
        return self._attributes_in_group

    def _actions(self, cwd: bytes, outputs: tuple[int, int]) -> "_Words":
        """Say what the child does before it becomes the program. Raises MemoryError."""
        library, actions = self._library, _Opaque()
        failed: int = library.posix_spawn_file_actions_init(actions)
        failed |= library.posix_spawn_file_actions_addopen(
            actions, 0, os.devnull.encode(), os.O_RDONLY, 0
        )
        for target, descriptor in enumerate(outputs, 1):
            failed |= library.posix_spawn_file_actions_adddup2(actions, descriptor, target)
        failed |= library.posix_spawn_file_actions_addclosefrom_np(actions, 3)
        failed |= library.posix_spawn_file_actions_addchdir_np(actions, cwd)
        if failed:
            raise MemoryError  # the one reason there is
        return actions


def _made_spawner() -> _Spawner | None:
    if sys.platform != "linux":
        return None
    try:
        return _Spawner(ctypes.CDLL(None))
    except AttributeError:
        return None


SPAWNER: Final = _made_spawner()
"""None where the C library cannot do all that is needed."""

KNOWS_GROUPS: Final = SPAWNER is not None and SPAWNER.knows_groups
"""Whether a program can be born in a control group."""


def start_by_subprocess(
    argv: Sequence[str],
    cwd: "str | os.PathLike[str]",
    environment: Mapping[str, str],
    outputs: tuple[int, int],
) -> int:
    """Do as `start` does, anywhere."""
    import subprocess  # noqa: PLC0415  the supervisor starts sooner without

    popen = subprocess.Popen(  # noqa: S603 - to run what a job asks for is the purpose
        argv,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=outputs[0],
        stderr=outputs[1],
        start_new_session=True,
    )
    popen.returncode = 0  # so that it does not wait for the child: whoever asked does
    return popen.pid


def _found(name: str, cwd: str, environment: Mapping[str, str]) -> bytes:
    """Return the path of a program as execvp(3) finds it. Raises FileNotFoundError."""
    if "/" in name:
        return os.fsencode(name)
    for folder in environment.get("PATH", os.defpath).split(os.pathsep):
        path = f"{folder}/{name}" if folder[:1] == "/" else f"{cwd}/{folder}/{name}"
        if os.access(path, os.X_OK) and not os.path.isdir(path):  # noqa: PTH112 - for every command
            return os.fsencode(path)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _entries(environment: Mapping[str, str]) -> list[bytes]:
    if "=" in "".join(environment):
        msg = "illegal environment variable name"
        raise ValueError(msg)
    return _encoded([f"{name}={value}" for name, value in environment.items()])


def _encoded(words: Sequence[str]) -> list[bytes]:
    """Return the bytes of words; UTF-8 whatever this process's locale: the child's is UTF-8.

    Raises ValueError for a NUL: C would take a word to end there.
    """
    encoded = "\0".join(words).encode("utf-8", "surrogateescape").split(b"\0")
    if len(encoded) > max(len(words), 1):
        msg = "embedded null byte"
        raise ValueError(msg)
    return encoded if words else []


def _strings(words: Sequence[bytes]) -> "ctypes.Array[c_char_p]":
    return (c_char_p * (len(words) + 1))(*words, None)
