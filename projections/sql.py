"""Reads the statements of a table's `.sql` file. Knows nothing of what they do."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+).*$", re.MULTILINE)


def statements(module_file: str) -> Mapping[str, str]:
    """Return the statements of the `.sql` file beside a module, by name."""
    text = Path(module_file).with_suffix(".sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    return MappingProxyType(dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True)))
