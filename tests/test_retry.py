"""A person's retry, as the API does it."""

from __future__ import annotations

import pytest

import then
from then.core.errors import ConfigError


def test_what_was_tried_again_is_not_tried_again_beside_its_last_attempt() -> None:
    # Three retries of one failure ran the task three times at once.
    rules = then.Rules()

    @rules.task("frail")
    def frail() -> None:
        raise ValueError("no")

    with then.Engine(rules) as engine:
        (failed,) = engine.run("frail").tasks
        (again,) = engine.retry(failed.id)
        engine.flow(failed.flow).wait()

        with pytest.raises(ConfigError, match=f"tried again as {again.id}"):
            engine.retry(failed.id)

        assert [task.attempt for task in engine.flow(failed.flow).tasks] == [1, 2]
