"""DBOS Transact on SQLite, as it is shipped: chain and fan-out of quick functions.

A worker: `python -m bench.peers.dbos_tasks WORK FOLDER TASKS`, by the interpreter of
bench's own venv, prints one line of JSON. WORK is one of

chain      one workflow that calls TASKS steps, each on the result of the one before;
           DBOS records each step's output before the next one starts
fanout     one async workflow that runs TASKS steps at once, then a closing step
workflows  one workflow that starts TASKS child workflows and waits for all of
           them, then a closing step

Timed: from starting the workflow to its result; not the import, not the launch.
"""

import asyncio
import json
import logging
import sqlite3
import sys
import time
from pathlib import Path

from dbos import DBOS, SetWorkflowID


@DBOS.step()
def step(n: int) -> dict:
    return {"n": n + 1}


@DBOS.step()
async def step_async(n: int) -> dict:
    return {"n": n + 1}


@DBOS.workflow()
def chain(tasks: int) -> int:
    n = 0
    for _ in range(tasks):
        n = step(n)["n"]
    return n


@DBOS.workflow()
async def fanout(tasks: int) -> int:
    results = await asyncio.gather(*(step_async(n) for n in range(tasks)))
    return (await step_async(len(results) - 1))["n"]


@DBOS.workflow()
def child(n: int) -> dict:
    return {"n": n + 1}


@DBOS.workflow()
def workflows(tasks: int) -> int:
    handles = [DBOS.start_workflow(child, n) for n in range(tasks)]
    results = [handle.get_result() for handle in handles]
    return step(len(results) - 1)["n"]


def main() -> None:
    work, folder, tasks = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    database = folder / "dbos.sqlite"
    DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{database}",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )
    logging.getLogger("dbos").setLevel(logging.ERROR)
    DBOS.launch()
    begun = time.perf_counter()
    if work == "fanout":

        async def run() -> int:
            handle = await DBOS.start_workflow_async(fanout, tasks)
            return await handle.get_result()

        answer = asyncio.run(run())
    else:
        with SetWorkflowID(f"bench-{work}"):
            answer = {"chain": chain, "workflows": workflows}[work](tasks)
    seconds = time.perf_counter() - begun
    DBOS.destroy()
    with sqlite3.connect(database) as reader:
        table = "operation_outputs" if work != "workflows" else "workflow_status"
        rows = reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        mode = reader.execute("PRAGMA journal_mode").fetchone()[0]
    print(json.dumps({"seconds": seconds, "right": answer == tasks and rows >= tasks, "journal_mode": mode}))


main()
