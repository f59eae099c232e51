"""Where the installed command begins: before anything is imported, and so with next to nothing.

A client command lives for a tenth of a second, most of it imports. Those make many objects and no
garbage, so the collector's default pace only costs: some 8 of 115 ms, measured by the first line
of `reactorcide run`.
"""

import gc
from typing import Final

_OBJECTS_BEFORE_COLLECTION: Final = 50_000


def main() -> None:
    """Run the command; see `reactorcide.cli.main`."""
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
    from reactorcide.cli.main import main as run_command

    run_command()


if __name__ == "__main__":
    main()
