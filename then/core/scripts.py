"""Scripts under way: the steps that each has taken, what it waits for, and how ended what it started.

Cells beside the log, folded from the facts `Asked`, `Awaited` and `Answered`, so
that a start reads no history. The decisions are of `then.core.asking`; what a
script is run with is `then.scripts`.

A script is a task. Its steps are numbered, 0, 1, 2, …; each says what was asked
and what came of it, so that the script can be run again up to where it was, with
the same answers. Steps are kept in chunks: one that is full is encoded, and is
not written again.

Invariants:
1. A script is here from its first step until its task ends.
2. `count` is the number of steps with an answer; the step of that number is `open`, or not asked yet.
3. `ended` holds, by id, every settled record that a script started. An answer names records by
   their ids, so that a further attempt later changes no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import attrs
import msgspec

from then.core import facts as f
from then.core.tasks import Json, Task

CHUNK_STEPS: Final = 64
"""Steps of a cell: few enough that one is cheaply written again, many enough that a long script has few cells."""
KINDS: Final = ("script", "stride", "ended")
"""The kinds of the cells of scripts."""


class Step(NamedTuple):
    """One step of a script with its answer."""

    what: str
    """What was asked, in one line; the same again, or the script is another one."""
    value: Json = None
    """Of `run` and `call` the id of what was started; of `wait` the ids of records, or null: it timed out."""
    refused: str | None = None
    """Why it was refused, where it was; it did nothing then."""
    place: str = ""
    """File and line of then."""


class Open(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a script waits for."""

    what: str
    place: str
    ids: list[str]
    """First attempts."""
    is_any: bool
    due: int | None


class Script(msgspec.Struct, array_like=True, gc=False):
    """A script under way."""

    id: str
    """Of its task."""
    began: int
    """When it took its first step."""
    count: int = 0
    open: Open | None = None
    last: dict[str, str] = {}
    """First attempt: the attempt that is settled, of what it started."""
    missing: dict[str, bool] = {}
    """Of what it waits for, what has not settled: so that one more costs no look at all the others."""

    @property
    def is_answerable(self) -> bool:
        """Whether what it waits for has come."""
        return (
            self.open is not None
            and (not self.missing or (self.open.is_any and len(self.missing) < len(self.open.ids)))
            and bool(self.open.ids)
        )

    @property
    def awaits_records(self) -> bool:
        """Whether it goes on by what becomes of others; one that sleeps goes on by itself."""
        return self.open is not None and bool(self.open.ids)

    def give_up(self) -> None:
        """Its task has ended: no answer follows."""
        self.open, self.missing = None, {}


class Recorded(NamedTuple):
    """What a script is run again with: encoded parts of the state, to be read outside of any lock."""

    chunks: list[bytes]
    tail: list[Step]
    ended: dict[str, bytes]
    began: int
    open: Open | None

    def steps(self) -> list[Step]:
        """All steps with an answer, in order."""
        return [step for chunk in self.chunks for step in _decode_chunk(chunk)] + self.tail

    def records(self) -> dict[str, Task]:
        """What has settled of what the script started, by id."""
        return {id: _decode_task(data) for id, data in self.ended.items()}


_encode = msgspec.msgpack.Encoder().encode
_decode_script = msgspec.msgpack.Decoder(Script).decode
_decode_task = msgspec.msgpack.Decoder(Task).decode
_decode_chunk = msgspec.msgpack.Decoder(list[Step]).decode


@attrs.define
class Scripts:
    """The scripts of an engine that are under way, by the id of their task."""

    of: dict[str, Script] = attrs.field(factory=dict)
    _chunks: dict[str, list[bytes | list[Step]]] = attrs.field(factory=dict)
    _ended: dict[str, dict[str, bytes]] = attrs.field(factory=dict)

    def recorded(self, id: str) -> Recorded | None:
        """What a script has done so far; None where it has taken no step."""
        script = self.of.get(id)
        if script is None:
            return None
        chunks = self._chunks.get(id, [])
        full = [chunk for chunk in chunks if isinstance(chunk, bytes)]
        tail = [step for chunk in chunks[-1:] if isinstance(chunk, list) for step in chunk]
        return Recorded(full, tail, dict(self._ended.get(id, ())), script.began, script.open)

    def is_waiting(self, id: str) -> bool:
        """Whether a task is a script that waits."""
        script = self.of.get(id)
        return script is not None and script.open is not None

    def settled(self, script: Script, ids: Iterable[str]) -> Iterator[Task]:
        """The records of those of some first attempts of which the last has settled."""
        ended = self._ended.get(script.id, {})
        for id in ids:
            last = script.last.get(id)
            if last is not None:
                yield _decode_task(ended[last])

    def ended_record(self, script: str, id: str) -> Task:
        """A record that has settled, by its id."""
        return _decode_task(self._ended[script][id])

    def copied(self) -> Scripts:
        """The same, to try on it what would settle."""
        own = {id: _decode_script(_encode(script)) for id, script in self.of.items()}
        chunks = {
            id: [chunk if isinstance(chunk, bytes) else chunk.copy() for chunk in kept]
            for id, kept in self._chunks.items()
        }
        return Scripts(own, chunks, {id: dict(ended) for id, ended in self._ended.items()})

    # -- the fold: each gives the keys of the cells that differ, with their kinds

    def began(self, id: str, time: int) -> Script:
        """The script of that id; it may take its first step with this."""
        script = self.of.get(id)
        if script is None:
            script = self.of[id] = Script(id, time)
        return script

    def wait(self, script: Script, wait: Open) -> None:
        """It waits from now on."""
        script.open = wait
        script.missing = {id: True for id in wait.ids if id not in script.last}

    def add(self, script: Script, step: Step) -> tuple[str, bool]:
        """A step has its answer. Gives the key of the chunk that it is in, and whether that is a new one."""
        chunks = self._chunks.setdefault(script.id, [])
        if not script.count % CHUNK_STEPS:
            chunks.append([])
        last = chunks[-1]
        if isinstance(last, bytes):
            last = chunks[-1] = _decode_chunk(last)
        last.append(step)
        number = script.count // CHUNK_STEPS
        script.count += 1
        if not script.count % CHUNK_STEPS:
            chunks[-1] = _encode(last)
        return _chunk_key(script.id, number), len(last) == 1

    def settle(self, script: Script, task: Task) -> str:
        """A record that the script started has settled. Gives the key of its cell."""
        self._ended.setdefault(script.id, {})[task.id] = _encode(task)
        script.last[task.key] = task.id
        script.missing.pop(task.key, None)
        return f"{script.id}/{task.id}"

    def drop(self, id: str) -> list[tuple[str, str]]:
        """A script is over. Gives kind and key of all its cells."""
        del self.of[id]
        chunks, ended = self._chunks.pop(id, []), self._ended.pop(id, {})
        gone = [("script", id)]
        gone += [("stride", _chunk_key(id, number)) for number in range(len(chunks))]
        gone += [("ended", f"{id}/{task}") for task in ended]
        return gone

    # -- cells

    def cell(self, kind: str, key: str) -> object:
        """The value of a cell; None where there is none."""
        if kind == "script":
            return self.of.get(key)
        id, _, rest = key.partition("/")
        if kind == "ended":
            return self._ended.get(id, {}).get(rest)
        chunks = self._chunks.get(id, [])
        number = int(rest, 16)
        return chunks[number] if number < len(chunks) else None

    def load(self, kind: str, rows: Iterable[tuple[str, bytes]]) -> Iterator[tuple[int, str]]:
        """Takes up the cells of a kind. Gives when waits of scripts are due."""
        for key, data in rows:
            id, _, rest = key.partition("/")
            if kind == "script":
                script = self.of[id] = _decode_script(data)
                if script.open is not None and script.open.due is not None:
                    yield script.open.due, id
            elif kind == "ended":
                self._ended.setdefault(id, {})[rest] = data
            else:
                chunks = self._chunks.setdefault(id, [])
                chunk: Any = _decode_chunk(data)
                chunks.append(data if len(chunk) == CHUNK_STEPS else chunk)


def _chunk_key(id: str, number: int) -> str:
    return f"{id}/{number:08x}"


def step_of(fact: f.Asked) -> Step:
    """The step that a fact tells of."""
    return Step(fact.what, fact.value, fact.refused, fact.place)
