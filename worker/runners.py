"""The runners by their names, each found to work here before any job is taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from reactorcide.worker.bubblewrap import Bubblewrap
from reactorcide.worker.container import Containers, ContainerSettings
from reactorcide.worker.runner import Runner
from reactorcide.worker.walls import WalledRunner, Walls, WallsUnusable


@dataclass(frozen=True, slots=True)
class WallSettings:
    """What a worker says of the walls around its commands."""

    network: bool = True
    image: str | None = None
    """For jobs that name none."""
    engine: str | None = None
    """`podman` or `docker`; None: the first that works."""
    container_options: tuple[str, ...] = ()


_AS_IT_IS: Final = WallSettings()


async def runner_of(
    name: str, plain: Runner, settings: WallSettings, environ: Mapping[str, str]
) -> Runner:
    """Return the runner called `name`, which has `plain` start what it makes of commands.

    `environ`: the worker's own. Raises WallsUnusable.
    """
    if name != "container" and settings != WallSettings(network=settings.network):
        msg = "an image, an engine and its options need --runner container"
        raise WallsUnusable(msg)
    walls: Walls
    if name == "bubblewrap":
        walls = Bubblewrap(network=settings.network)
    elif name == "container":
        chosen = ContainerSettings(
            settings.engine, settings.image, settings.network, settings.container_options
        )
        walls = Containers(chosen, environ)
    elif settings == _AS_IT_IS:
        return plain
    else:
        msg = "--no-network needs --runner bubblewrap or container"
        raise WallsUnusable(msg)
    await walls.check(plain)
    return WalledRunner(plain, walls)
