# What a type checker sees of `then/__init__.py`, where the names are found on first use.

from then.app.aio import AsyncEngine as AsyncEngine
from then.app.aio import AsyncFlow as AsyncFlow
from then.app.emissions import call as call
from then.app.emissions import cancel as cancel
from then.app.emissions import cancel_flow as cancel_flow
from then.app.emissions import each as each
from then.app.emissions import emit as emit
from then.app.emissions import end_flow as end_flow
from then.app.emissions import return_ as return_
from then.app.emissions import save as save
from then.app.emissions import skip as skip
from then.app.engine import Engine as Engine
from then.app.flows import Flow as Flow
from then.app.flows import FlowFailed as FlowFailed
from then.app.parts import absent as absent
from then.app.parts import part as part
from then.app.procedures import Procedure as Procedure
from then.app.rules import Rules as Rules
from then.core.errors import ThenError as ThenError
from then.core.it import it as it
from then.core.it import of as of
from then.core.policies import retry as retry
from then.core.rules import Emission as Emission
from then.core.rules import Match as Match
from then.core.rules import Part as Part
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
    "Part",
    "Procedure",
    "Rule",
    "Rules",
    "Task",
    "ThenError",
    "absent",
    "call",
    "cancel",
    "cancel_flow",
    "each",
    "emit",
    "end_flow",
    "it",
    "of",
    "part",
    "retry",
    "return_",
    "save",
    "skip",
    "__version__",
]
