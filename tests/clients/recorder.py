"""Stands between a client and `andthen`, and writes down what each says: a line for each message, in order.

    python recorder.py FOLDER ARGUMENT…

Without arguments it takes them from DAP_RECORDS, a folder, and DAP_ARGUMENTS, a JSON list.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
from pathlib import Path

HEADER = re.compile(rb"Content-Length: *(\d+)\r\n(?:[^\r\n]+\r\n)*\r\n", re.IGNORECASE)


def messages(data: bytearray) -> list[object]:
    """Those that are whole; they are taken away."""
    found: list[object] = []
    while (header := HEADER.match(data)) is not None and len(data) >= header.end() + int(header[1]):
        end = header.end() + int(header[1])
        found.append(json.loads(bytes(data[header.end() : end])))
        del data[:end]
    return found


def main() -> int:
    folder, *arguments = sys.argv[1:] or [os.environ["DAP_RECORDS"], *json.loads(os.environ["DAP_ARGUMENTS"])]
    adapter = subprocess.Popen(
        [sys.executable, "-m", "then", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert adapter.stdin is not None
    assert adapter.stdout is not None
    ways = {0: ("client", adapter.stdin.fileno()), adapter.stdout.fileno(): ("adapter", 1)}
    heard = {fd: bytearray() for fd in ways}
    with (Path(folder) / f"{os.getpid()}.jsonl").open("w") as record, selectors.DefaultSelector() as selector:
        for fd in ways:
            selector.register(fd, selectors.EVENT_READ)
        while adapter.stdout.fileno() in selector.get_map():
            for key, _ in selector.select():
                who, sink = ways[key.fd]
                data = os.read(key.fd, 65536)
                heard[key.fd] += data
                for message in messages(heard[key.fd]):
                    record.write(json.dumps({"from": who, "message": message}) + "\n")
                record.flush()
                if not data:
                    selector.unregister(key.fd)
                    if who == "client":
                        adapter.stdin.close()
                    continue
                view = memoryview(data)
                try:
                    while view:
                        view = view[os.write(sink, view) :]
                except BrokenPipeError:
                    pass  # Whoever was told has gone.
    return adapter.wait()


if __name__ == "__main__":
    sys.exit(main())
