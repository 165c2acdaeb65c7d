"""kill -9 of whole engines, at counted system calls, at random times, and while they recover."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.crash import campaign

POINTS = 300
POINTS_A_TEST = 25


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, POINTS, POINTS_A_TEST))
def test_after_every_kill_the_flows_end_as_without_one(first: int) -> None:
    if shutil.which("strace") is None:
        assert os.environ.get("CI") != "true", "strace is not here"
        pytest.skip("strace is not here")
    totals = campaign.run_points(first, POINTS_A_TEST)
    print(dict(totals))
    assert totals["points"] == POINTS_A_TEST
    assert totals["kills"] > POINTS_A_TEST // 3, "points that hit nothing prove nothing"
