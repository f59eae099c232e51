"""`reactorcide completion`: the completion script of a shell."""

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash   eval "$(reactorcide completion bash)"          in ~/.bashrc
    zsh    eval "$(reactorcide completion zsh)"           in ~/.zshrc
    fish   reactorcide completion fish | source           in ~/.config/fish/config.fish
    """  # noqa: D301  \b is click's mark for lines that stay
    from click.shell_completion import get_completion_class

    from reactorcide.cli.main import cli

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(cli, {}, "reactorcide", "_REACTORCIDE_COMPLETE").source())
