"""huey with SqliteHuey: fan-out of quick functions.

A worker: `python -m bench.peers.huey_tasks WORK FOLDER TASKS SYNC`, by the
interpreter of bench's own venv, prints one line of JSON. WORK is one of

plain   TASKS tasks with stored results; ended when the last result is stored
chord   TASKS tasks and a callback that gets all their results: huey's closing rule

SYNC: `default` leaves huey's settings alone; `full` and `off` give fsync=True
and fsync=False. In the same process a consumer with one worker thread, which
was measured to be quicker than with two (they wait for SQLite's lock).

Timed: from the first enqueue to the last result; not the import, not the
start of the consumer.
"""

import json
import sys
import threading
import time
from pathlib import Path

from huey import SqliteHuey, chord

work, folder, tasks, sync = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
workers = int(sys.argv[5]) if len(sys.argv) > 5 else 1
settings = {} if sync == "default" else {"fsync": sync == "full"}
huey = SqliteHuey("bench", filename=str(folder / "huey.db"), **settings)
ended = threading.Event()
answers: list[int] = []


@huey.task()
def step(n):
    if n + 1 == tasks and work == "plain":
        ended.set()
    return {"n": n + 1}


@huey.task()
def last(results):
    answers.append(len(results))
    ended.set()
    return {"n": len(results)}


def main() -> None:
    consumer = huey.create_consumer(workers=workers, initial_delay=0.001, max_delay=0.01, periodic=False)
    consumer.start()
    begun = time.perf_counter()
    if work == "chord":
        huey.enqueue(chord([step.s(n) for n in range(tasks)], last.s()))
        ended.wait()
    else:
        for n in range(tasks):
            step(n)
        ended.wait()
        while huey.storage.result_store_size() < tasks:
            time.sleep(0.001)
        answers.append(huey.storage.result_store_size())
    seconds = time.perf_counter() - begun
    synchronous = huey.storage.conn.execute("PRAGMA synchronous").fetchone()[0]
    mode = huey.storage.conn.execute("PRAGMA journal_mode").fetchone()[0]
    consumer.stop()
    print(
        json.dumps({"seconds": seconds, "right": answers == [tasks], "journal_mode": mode, "synchronous": synchronous})
    )


main()
