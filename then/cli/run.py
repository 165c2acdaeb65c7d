"""`andthen run`: rules at work in the foreground."""

from __future__ import annotations

import click

from then.cli import candidates
from then.cli.settings import RunOptions, Settings, command, run_options


@command("run")
@click.argument("path", type=click.Path())
@click.argument("type", required=False, shell_complete=candidates.types)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--body", metavar="FILE", help="A JSON object: the body; - is standard input. KEY=VALUE goes over it.")
@run_options
@click.option("--watch", is_flag=True, help="Stay, and reload rules that change (not there yet).")
def command_(
    settings: Settings,
    path: str,
    type: str | None,
    words: tuple[str, ...],
    body: str | None,
    watch: bool,
    options: RunOptions,
) -> int:
    """Loads the rules at PATH, a file or a folder, posts a record TYPE, and shows what follows until its flow has ended.

    A script, Python with a `main`, is a task by itself: what is given is its body.

    Without TYPE it posts what the `start` lines of the rules say, and stays where there are timers. A value is read by the type that is declared for
    its field; else as JSON where it is JSON, else as text. KEY:=JSON is JSON whatever is declared, KEY=@FILE the text
    of a file.

    \b
    andthen run release.then
    andthen run shop.then order.placed id=7 total=250 items:='[{"sku": "a"}]'
    andthen run rules/ build ref=main -j 4 --json
    andthen run nightly.py ref=main
    """  # noqa: D301  # click wants the character, not its escape.
    from pathlib import Path

    from then.app.posting import posts_of
    from then.app.script_files import is_script, type_of
    from then.cli.values import read_body, read_words
    from then.cli.working import at_work, load, open_engine, stays_for
    from then.core.errors import ConfigError, NotYet

    if watch:
        raise NotYet("`run --watch`")
    if type is not None and "=" in type:
        words, type = (type, *words), None
    is_lone_script = type is None and is_script(Path(path))
    if is_lone_script:
        type = type_of(Path(path).name)
    if type is None and (words or body is not None):
        given = words[0] if words else f"--body {body}"
        raise ConfigError(f"{given}: say first which record: `andthen run {path} TYPE KEY=VALUE …`")
    fields = read_body(body)
    texts, values = read_words(words)
    rules = load(path)
    posts = posts_of(rules.edition, type, texts, {**fields, **values}, path)
    with at_work(settings, options, open_engine(settings, options, rules)) as work:
        flows = work.post(lambda: [work.engine.post_record(posted, body_).id for posted, body_ in posts])
        stays = type is None and stays_for(rules.edition.rules.timers)
        return work.follow(flows, options.timeout_s, stays=stays)
