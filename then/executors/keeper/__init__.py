"""The keeper: a small program that starts processes and outlives the engine.

`then.executors.process` starts it, `python -I -S …/keeper/__main__.py FOLDER FD`,
and speaks with it over a unix socket. It imports nothing of `then` (inside the
program this package is a top-level one, hence its relative imports) and only C
modules of the standard library, so that it starts quickly and stays small.
docs/processes.md tells the whole story; here is the theory.

One thread, one `poll`. It waits for four things: orders of the engine, the end
of a child (SIGCHLD through a wake-up pipe), the end of an orphan (a process of
an earlier keeper, through its pidfd), and a due time (grace of a stop, sync of
the log). Nothing is looked at by the clock.

Invariants:

1. The line `S id` is in the log before the process is spawned. So an id that
   the log does not know was never started ("never"), by any keeper.
2. `P id pid …` follows the spawn, `X id …` the end; the engine hears of an end
   only after its line was written. A line that was written survives kill -9 of
   anybody; a loss of power can take the lines since the last sync, and then
   `gap` makes every "never" a "lost".
3. The lock is held for life, and by a child until its exec. Who has the lock
   therefore finds every process of earlier keepers in /proc, with its
   environment.
4. A pid is signalled only while it cannot be another's: own children that are
   not reaped yet, or through a pidfd after whose opening the start time was read.
5. A folder `tasks/<id>` passes on to another task only by a rename, and only
   when it is as empty as it was given, no descendant of the first lives, and
   nobody has one of its files open.
"""
