"""A flow of functions for the tests of forks: calls, a join, a loop, failures that are taken up, variables. Who ran is counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

RULES = """
event go(n: int)
event told(n: int, total: int)
task pick(n: int) -> (ks: list[int])
  run python "tests.forking:pick"
task weigh(n: int) -> (m: int)
  run python "tests.forking:weigh"
task risky(n: int) -> (m: int)
  run python "tests.forking:risky"
  retry 1 times
task mend(n: int) -> (m: int)
  run python "tests.forking:weigh"
task ask(n: int) -> (ok: bool)
procedure check(n: int) -> (m: int)
  first weigh(n: n)
  when weigh done as w where w.m % 2 == 0 then return (m: w.m)
  when weigh done as w where w.m % 2 == 1 then mend(n: w.m)
  when mend done as w then return (m: w.m)
end
rule begin when go as g then save total: g.n, pick(n: g.n), risky(n: g.n)
rule some when pick done as p then for i in p.ks emit weigh(n: i + p.n)
rule called when pick done as p then call check(n: p.n) as c then save total: c.m, told(n: p.n, total: c.m)
rule failed when risky failed as r then mend(n: r.n)
rule both when all of pick done as p, mend done as m by flow then ask(n: m.m)
breakpoint person before ask
rule end when told as t then weigh(n: t.total + 100)
"""
RAN: Counter[str] = Counter()


def pick(n: int) -> dict[str, Any]:
    RAN["pick"] += 1
    return {"ks": list(range(n % 4))}


def weigh(n: int) -> dict[str, Any]:
    RAN["weigh"] += 1
    return {"m": n * 3 % 7}


def risky(n: int) -> dict[str, Any]:
    RAN["risky"] += 1
    if n % 3 == 0:
        raise ValueError("no")
    return {"m": n}
