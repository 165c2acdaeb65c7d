"""`andthen run`: rules at work in the foreground."""

from __future__ import annotations

from collections.abc import Callable

import click

from then.cli import candidates
from then.cli.settings import Settings, command, run_options


@command("run")
@click.argument("path", type=click.Path())
@click.argument("type", required=False, shell_complete=candidates.types)
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--body", metavar="FILE", help="A JSON object: the body; - is standard input. KEY=VALUE goes over it.")
@run_options
@click.option("--watch", is_flag=True, help="Stay, and reload rules that change.")
def command_(
    settings: Settings,
    path: str,
    type: str | None,
    words: tuple[str, ...],
    body: str | None,
    jobs: int | None,
    durability: str,
    waits: bool,
    timeout: str | None,
    cancel_on_term: bool,
    retention: str,
    watch: bool,
) -> int:
    """Loads the rules at PATH, a file or a folder, posts a record TYPE, and shows what follows until its flow has ended.

    Without TYPE it posts what the `start` lines of the rules say. A value is read by the type that is declared for
    its field; else as JSON where it is JSON, else as text. KEY:=JSON is JSON whatever is declared, KEY=@FILE the text
    of a file.

    \b
    andthen run release.then
    andthen run shop.then order.placed id=7 total=250 items:='[{"sku": "a"}]'
    andthen run rules/ build ref=main -j 4 --json
    """
    from then.app.loading import load_rules
    from then.app.posting import body_of, check_type, postable, starts
    from then.cli.settings import say
    from then.cli.values import read_body, read_words, retention_of, seconds
    from then.core.errors import ConfigError, NotYet

    if watch:
        raise NotYet("`run --watch`")
    if type is not None and "=" in type:
        words, type = (type, *words), None
    if type is None and (words or body is not None):
        raise ConfigError(
            f"{(words or (f'--body {body}',))[0]}: say first which record: `andthen run {path} TYPE KEY=VALUE …`"
        )
    limit_s = seconds(timeout, "--timeout") if timeout is not None else None
    retention_s = retention_of(retention)
    given = read_body(body)
    texts, values = read_words(words)
    rules = load_rules(path)
    for finding in rules.findings:
        say(finding.text())
    edition = rules.edition
    if type is not None:
        check_type(rules.set, type)
        posts = [(type, body_of(edition, type, texts, {**given, **values}))]
    else:
        posts = list(starts(edition))
    if not posts:
        names = ", ".join(postable(rules.set)[:20])
        raise ConfigError(
            f"{path}: no `start` line, and no TYPE is given; it could be: {names or 'nothing, no task or event is declared'}"
        )

    from then.app.engine import Engine, Opening
    from then.cli.working import at_work
    from then.loop import Loop

    def open_engine(watch: Callable[[Loop], None]) -> Engine:
        return Engine(
            rules,
            settings.folder,
            durability=durability,  # type: ignore[arg-type]
            slots=jobs,
            retention_s=retention_s,
            opening=Opening(watch=watch),
        )

    with at_work(settings, open_engine, waits=waits, cancels_on_term=cancel_on_term) as work:
        flows = [work.engine.post_record(posted, fields).id for posted, fields in posts]
        return work.follow(flows, limit_s)
