"""Scripts on their threads, told by hand what the loop tells them."""

from __future__ import annotations

import os
from pathlib import Path

import then
from tests.scripted import PATIENCE_S, project, until


def test_one_that_does_not_react_is_given_up_at_once_when_it_is_left_no_more_time(tmp_path: Path) -> None:
    text = """
    def main(path):
        run("person", n=1)
        open(path).close()
    """
    os.mkfifo(tmp_path / "fifo")
    with then.Engine(project(tmp_path, text)) as engine:
        flow = engine.post("job", path=f"{tmp_path}/fifo")
        until(engine, lambda state: any(task.type == "person" for task in state.live(flow.id)))
        script = engine.loop.executors["script"]
        script.stop(flow.id, 1000.0)
        engine.cancel(flow)
        script.stop(flow.id, 0.0)
        # Its thread is still where it was: nobody has opened the other end.
        assert flow.wait(PATIENCE_S).outcome == "cancelled"
        os.close(os.open(tmp_path / "fifo", os.O_RDWR))
