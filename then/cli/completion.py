"""`andthen completion`: what makes a shell complete commands."""

from __future__ import annotations

import click

from then.cli.settings import Settings, command


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command_(settings: Settings, shell: str) -> None:
    """Prints what makes SHELL complete commands, options, ids and types.

    \b
    bash: eval "$(andthen completion bash)", in ~/.bashrc
    zsh:  eval "$(andthen completion zsh)", in ~/.zshrc
    fish: andthen completion fish > ~/.config/fish/completions/andthen.fish
    """  # noqa: D301  # click wants the character, not its escape.
    from click.shell_completion import get_completion_class

    from then.cli.entry import COMPLETE, PROGRAM, andthen

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(andthen, {}, PROGRAM, COMPLETE).source())
