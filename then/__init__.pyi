# What a type checker sees of `then/__init__.py`, where the names are found on first use.

from then.app.aio import AsyncEngine as AsyncEngine
from then.app.aio import AsyncFlow as AsyncFlow
from then.app.engine import Engine as Engine
from then.app.engine import Flow as Flow
from then.app.engine import FlowFailed as FlowFailed
from then.app.rules import Rules as Rules
from then.app.rules import emit as emit
from then.core.errors import ThenError as ThenError
from then.core.it import it as it
from then.core.rules import Emission as Emission
from then.core.rules import Match as Match
from then.core.rules import Rule as Rule
from then.core.tasks import Task as Task

__version__: str
__all__ = [
    "AsyncEngine",
    "AsyncFlow",
    "Emission",
    "Engine",
    "Flow",
    "FlowFailed",
    "Match",
    "Rule",
    "Rules",
    "Task",
    "ThenError",
    "emit",
    "it",
    "__version__",
]
