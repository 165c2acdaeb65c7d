"""The plain truth of admission: lists, looked through from end to end each time, all sums made anew."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from then.core.claims import Claim, Resource, Take, place_of

LaneKey = tuple[str, int, tuple[Resource, ...]]


@attrs.define(eq=False)
class Waiting:
    id: str
    claim: Claim
    flow: str
    priority: int

    @property
    def lane(self) -> LaneKey:
        return self.flow, self.priority, self.claim.resources


@attrs.define
class PlainAdmission:
    lanes: dict[LaneKey, list[Waiting]] = attrs.field(factory=dict)
    running: dict[str, Claim] = attrs.field(factory=dict)
    at: dict[LaneKey, int] = attrs.field(factory=dict)
    """Of the lanes whose head stands in a line: for which of its resources."""
    fresh: list[LaneKey] = attrs.field(factory=list)
    """The other lanes, in the order in which they are to be looked at."""
    joined: list[LaneKey] = attrs.field(factory=list)
    """Lanes that stand in lines, in the order in which they joined them."""
    rings: dict[tuple[Resource, int], list[str]] = attrs.field(factory=dict)
    """By resource and priority: the flows, in the order of their turns."""

    @property
    def waiting(self) -> list[Waiting]:
        return [one for lane in self.lanes.values() for one in lane]

    def head(self, lane: LaneKey) -> Waiting:
        return self.lanes[lane][0]

    def add(self, id: str, claim: Claim, flow: str, priority: int) -> None:
        one = Waiting(id, claim, flow, priority)
        if one.lane not in self.lanes:
            self.fresh.append(one.lane)
        self.lanes.setdefault(one.lane, []).append(one)

    def remove(self, one: Waiting) -> bool:
        """Whether the lane has others."""
        self.lanes[one.lane].remove(one)
        if not self.lanes[one.lane]:
            del self.lanes[one.lane]
        return one.lane in self.lanes

    def release(self, id: str) -> None:
        if self.running.pop(id, None) is not None:
            return
        one = next(one for one in self.waiting if one.id == id)
        was_placed = self.head(one.lane) is one and one.lane in self.at
        if was_placed:
            self.part(one.lane)
        still = self.remove(one)
        if was_placed and still:
            self.fresh.append(one.lane)
        if not still and one.lane in self.fresh:
            self.fresh.remove(one.lane)

    def next(self) -> str | None:
        while True:
            found = [(-lane[1], place_of(of), 0, lane) for of, lane in self.firsts() if self.has_at(lane)]
            found += [(-lane[1], (9, ""), number, lane) for number, lane in enumerate(self.fresh)]
            if not found:
                return None
            started = self.advance(min(found)[3])
            if started is not None:
                return started

    def firsts(self) -> Iterator[tuple[Resource, LaneKey]]:
        for of in {self.resource_at(lane) for lane in self.joined}:
            first = self.first(of)
            assert first is not None
            yield of, first

    def resource_at(self, lane: LaneKey) -> Resource:
        return lane[2][self.at[lane]]

    def first(self, of: Resource) -> LaneKey | None:
        line = [lane for lane in self.joined if self.resource_at(lane) == of]
        if not line:
            return None
        priority = max(lane[1] for lane in line)
        flow = self.rings[of, priority][0]
        return next(lane for lane in line if lane[1] == priority and lane[0] == flow)

    def has_at(self, lane: LaneKey) -> bool:
        return self.has(lane, self.head(lane).claim.takes[self.at[lane]])

    def has(self, lane: LaneKey, take: Take) -> bool:
        used = sum(
            one.amount for claim in self.running.values() for one in claim.takes if one.resource == take.resource
        )
        kept = sum(
            one.amount
            for other in self.joined
            if other != lane and other[1] >= lane[1]
            for one in self.head(other).claim.takes[: self.at[other]]
            if one.resource == take.resource
        )
        return used + kept + take.amount <= take.of

    def advance(self, lane: LaneKey) -> str | None:
        head = self.head(lane)
        at = self.at.get(lane, -1)
        for index, take in enumerate(head.claim.takes):
            first = self.first(take.resource)
            is_closed = index > at and first is not None and first[1] >= lane[1]
            if is_closed or not self.has(lane, take):
                self.part(lane)
                self.join(lane, index)
                return None
        self.part(lane)
        self.running[head.id] = head.claim
        if self.remove(head):
            self.fresh.append(lane)
        return head.id

    def join(self, lane: LaneKey, index: int) -> None:
        self.at[lane] = index
        self.joined.append(lane)
        ring = self.rings.setdefault((lane[2][index], lane[1]), [])
        if lane[0] not in ring:
            ring.append(lane[0])

    def part(self, lane: LaneKey) -> None:
        if lane in self.fresh:
            self.fresh.remove(lane)
        if lane not in self.at:
            return
        of = self.resource_at(lane)
        of_flow = [other for other in self.joined if other[:2] == lane[:2] and self.resource_at(other) == of]
        ring = self.rings[of, lane[1]]
        if of_flow[0] == lane:
            ring.remove(lane[0])
            ring.append(lane[0])
        if of_flow == [lane]:
            ring.remove(lane[0])
        self.joined.remove(lane)
        del self.at[lane]
