"""`andthen debug`: one flow stopped at its first record, in an engine of its own; or one that has ended, looked at."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import Settings, command


@command("debug")
@click.argument("path", type=click.Path(), required=False)
@click.argument("type", required=False, shell_complete=candidates.types)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--body", metavar="FILE", help="A JSON object: the body; - is standard input. KEY=VALUE goes over it.")
@click.option(
    "--post-mortem",
    metavar="[FLOW]",
    is_flag=False,
    flag_value="",
    shell_complete=candidates.flow_ids,
    help="Look at a flow of the state, without FLOW at the last that failed; nothing is changed.",
)
@click.option(
    "-x", "files", metavar="FILE", multiple=True, type=click.Path(), help="Carry out the commands in a file first."
)
@click.option("--dap", is_flag=True, help="Speak the Debug Adapter Protocol on standard input and output: for editors.")
@click.option(
    "--dap-port", type=click.IntRange(0, 65535), metavar="N", help="The same on a port of 127.0.0.1, with a token."
)
@click.option("--batch", is_flag=True, help="Read no commands but those of -x; the first that is refused ends it.")
def command_(  # noqa: PLR0913, PLR0917 (each is an option)
    settings: Settings,
    path: str | None,
    type: str | None,
    words: tuple[str, ...],
    body: str | None,
    post_mortem: str | None,
    files: tuple[str, ...],
    dap: bool,
    dap_port: int | None,
    batch: bool,
) -> int:
    """Posts a record and stops at it, before any rule sees it; `help` lists what can be done then.

    The engine is a private one that keeps nothing, or with --state that of the state folder. TYPE and the fields are
    as of `andthen run`.

    \b
    andthen debug shop.then order.placed id=7 total=250
    andthen debug --post-mortem 038r4f --state .then
    """  # noqa: D301  # click wants the character, not its escape.
    from then.cli.debugging import begin, look_back
    from then.core.errors import ConfigError

    if dap or dap_port is not None:
        from then.cli.adapting import adapt, refuse_beside

        fields = words or (type is not None and "=" in type)
        refuse_beside({
            "KEY=VALUE": fields, "--body": body is not None, "--post-mortem": post_mortem is not None, "-x": files,
            "--batch": batch,
        })  # fmt: skip
        return adapt(settings, dap_port, path, type)
    if post_mortem is not None:
        if path is not None:
            raise ConfigError(f"{path}: --post-mortem takes the rules from the journal; leave PATH out")
        return look_back(settings, post_mortem, files, is_batch=batch)
    if path is None:
        raise ConfigError("debug what? `andthen debug PATH TYPE KEY=VALUE …`, or --post-mortem FLOW")
    return begin(settings, path, type, words, body, files, is_batch=batch)
