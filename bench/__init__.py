"""Benchmarks: every row a ratio to a peer, or to what the machine itself can do, measured in the same run.

`python -m bench` runs all; `python -m bench.chain` and its siblings one row
each. What the rows mean stands in docs/performance.md. Modules:

report     lines of the table, verdicts, docs/performance.md
rounds     repeated runs between two runs of an anchor, and which of them count
harness    options, folders, workers in processes of their own
venv       where the peers are installed
workloads  rules and records of the match row, as plain data
reference  a plain Python matcher, and other ways to match
floors     what SQLite and posix_spawn alone can do
ours       the same work through `then`
peers/     the same work through others; run by the interpreter of bench's own venv
"""
