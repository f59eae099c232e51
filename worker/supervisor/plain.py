"""Commands that a shell would do nothing with but start: a program by its path, and plain words.

To start a shell for these costs as much again as the command (GNU make leaves it out as well).
Nothing is started here.
"""

import re
from collections.abc import Sequence
from typing import Final

# No character that a shell reads as anything else (XCU 2.2 Quoting), nor one that a name expands
# by. With a slash in it the first word is neither a builtin, nor reserved, nor looked for.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_.+-]+)+(?: +[A-Za-z0-9_./+:,@%=-]+)*")


def plain_words(argv: Sequence[str]) -> list[str] | None:
    """Return the words of `sh -c COMMAND` if it is such a command.

    Whoever cannot start the program asks the shell: it knows what to do about scripts without a
    first line that names their interpreter, and what to say about what is missing.
    """
    if len(argv) != 3 or tuple(argv[:2]) != ("sh", "-c"):  # noqa: PLR2004  as many as it has
        return None
    command = argv[2].strip(" \n")
    return command.split() if _PLAIN.fullmatch(command) else None
