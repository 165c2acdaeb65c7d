"""What the commands that change something share: where they are carried out, and what is said of it."""

from __future__ import annotations

from then.app.desk import tell
from then.cli.settings import Settings, say
from then.core.tasks import Json


def change(settings: Settings, op: str, **arguments: Json) -> Json:
    """Carries a command out, at the running engine or in the journal, and says where. Gives the answer."""
    told = tell(settings.folder, op, **arguments)
    for notice in told.notices:
        say(notice)
    if not told.by_engine:
        say(f"no engine runs here: `{settings.again('resume')}` goes on")
    return told.answer
