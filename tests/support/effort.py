"""How often a property is tried: a sample in the suite, many times that in its battery."""

import os
from typing import Final

TIMES: Final = int(os.environ.get("REACTORCIDE_EFFORT", "1"))


def examples(sample: int) -> int:
    """Return how many examples to try where the suite tries `sample`."""
    return sample * TIMES
