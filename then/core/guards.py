"""Guards: how far rules may go before their flow is held, with the reason, for a person to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from then.core.errors import ConfigError, nearest


class Guards(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds rules that bring forth again and again. Each is at least 1."""

    flow_records: int = 1_000_000
    """Records that a flow may have; as many again after each release."""
    idle_events: int = 10_000
    """Records in a row without a task that ran, or a timer, between them: events that emit events.

    Of a fork that runs nothing, the tasks that are answered in one step.
    """
    call_depth: int = 10_000
    """Calls in one another."""
    emissions: int = 200_000
    """Emissions of one match; a rule that emits more has failed (`rule.failed`)."""


USUAL: Final = Guards()


def guards_of(given: Mapping[str, int]) -> Guards:
    """Guards of which some are other than usual.

    Args:
        given: by name; `-` may stand for `_`.

    Raises:
        ConfigError: there is no guard of that name, or its number is not one.
    """
    names = Guards.__struct_fields__
    changed: dict[str, int] = {}
    for said, number in given.items():
        name = said.replace("-", "_")
        if name not in names:
            shown = names if "_" in said else [one.replace("_", "-") for one in names]
            raise ConfigError(f'guard "{said}" is not known{nearest(said, shown)}; there are {", ".join(shown)}')
        if type(number) is not int or number < 1:
            raise ConfigError(f"guard {said}: {number!r} found, a whole number from 1 is expected")
        changed[name] = number
    return msgspec.structs.replace(USUAL, **changed)
