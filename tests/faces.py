"""The same rules in the language, in YAML and in Python: what stands side by side in the tests of the three faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import then
from then import it
from then.core.rules import Trigger

DECLARED = """\
event go(hosts: list[str])
event gone(order: int)
event push(repo: str, ref: str)
event login(user: str, ok: bool)
event note(text: str)
task pay(order: int, amount: float) -> (receipt: str) run process ["pay"]
task reserve(order: int) -> (shelf: str) run process ["reserve"]
task label(order: int, shelf: str) run process ["label"]
task ask(who: str, text: str) -> (user: str, answer: str)
task do(host: str) run process ["do"]
"""

Decorator = Callable[[then.Rules], Callable[[Callable[..., object]], object]]

TRIGGERS: dict[str, tuple[str, str, Decorator]] = {
    "all of by a key": (
        "all of pay done as p, reserve done as r by order within 2h",
        "{all: [{type: pay, outcome: done, as: p}, {type: reserve, outcome: done, as: r}], by: order, within: 2h}",
        lambda rules: rules.when(
            then.part("pay", "done", as_="p"), then.part("reserve", "done", as_="r"), by=it.order, within="2h", name="r"
        ),
    ),
    "an absent part": (
        "all of pay done as p, no gone by order within 90s",
        "{all: [{type: pay, outcome: done, as: p}, {type: gone, absent: true}], by: [order], within: 90s}",
        lambda rules: rules.when(
            then.part("pay", "done", as_="p"), then.absent("gone"), by=["order"], within=90, name="r"
        ),
    ),
    "by flow": (
        "any of pay failed as f, reserve failed or timed out as f by flow",
        "{any: [{type: pay, outcome: failed, as: f}, 'reserve failed or timed out as f'], by: flow}",
        lambda rules: rules.any_of(
            then.part("pay", "failed", as_="f"),
            then.part("reserve", "failed", "timed out", as_="f"),
            by="flow",
            name="r",
        ),
    ),
    "names that differ": (
        "all of push as p, login as l by p.repo == l.user, flow",
        "{all: [{type: push, as: p}, {type: login, as: l}], by: [{p: repo, l: user}, flow]}",
        lambda rules: rules.when(
            then.part("push", as_="p"), then.part("login", as_="l"), by=[{"p": it.repo, "l": "user"}, "flow"], name="r"
        ),
    ),
    "so many times": (
        "5 times login as x where ok == false followed by login as y where ok == true by user within 10m",
        (
            "{times: 5, type: login, as: x, where: {ok: false}, followed_by: {type: login, as: y, where: {ok: true}},"
            " by: user, within: 10m}"
        ),
        lambda rules: rules.times(
            5,
            then.part("login", it.ok == False, as_="x"),  # noqa: E712 (a clause, as data)
            followed_by=then.part("login", it.ok == True, as_="y"),  # noqa: E712
            by=it.user,
            within="10m",
            name="r",
        ),
    ),
    "quiet": (
        "push as g by repo quiet for 30s",
        "{quiet: 30s, type: push, as: g, by: repo}",
        lambda rules: rules.when(then.part("push", as_="g"), by="repo", quiet_for=30.0, name="r"),
    ),
    "a set": (
        'every do done where host != "a"',
        "{every: {type: do, outcome: done, where: 'host != \"a\"'}}",
        lambda rules: rules.every("do", "done", it.host != "a", name="r"),
    ),
    "a clause over a part to its left": (
        "all of push as p, login as l where user == p.repo by flow within 1d",
        "{all: ['push as p', {type: login, as: l, where: 'user == p.repo'}], by: flow, within: 1d}",
        lambda rules: rules.when(
            then.part("push", as_="p"),
            then.part("login", it.user == then.of("p").repo, as_="l"),
            by="flow",
            within=86400,
            name="r",
        ),
    ),
}


def python_trigger(name: str) -> Trigger:
    """What the form of that name is in Python."""
    rules = then.Rules()

    def nothing() -> Iterator[then.Emission]:
        yield from ()

    TRIGGERS[name][2](rules)(nothing)
    (rule,) = rules.set.rules
    return rule.trigger


ACTS: dict[str, tuple[str, str]] = {
    "emit": ('note(text: "x{g.record.id}") as n', '{type: note, body: {text: "x{g.record.id}"}, as: n}'),
    "terms": (
        (
            'do(host: "a") retry 5 times backoff 1s to 1m factor 3 jitter while error.kind == "exit" timeout 30s after 5m'
            ' at most once per 1h by g.hosts[0] if len(g.hosts) > 1 otherwise note(text: "none")'
        ),
        (
            "{type: do, body: {host: a}, retry: {times: 5, backoff: 1s, to: 1m, factor: 3, jitter: true,"
            " while: error.kind == \"exit\"}, timeout: 30s, after: 5m, at_most_once: 'per 1h by g.hosts[0]',"
            " if: len(g.hosts) > 1, otherwise: {type: note, body: {text: none}}}"
        ),
    ),
    "retry in words": (
        'do(host: "a") retry 2 times backoff 10s, do(host: "b") retry 3 times at 2030-01-05T10:00',
        (
            "[{type: do, body: {host: a}, retry: 2 times backoff 10s},"
            " {type: do, body: {host: b}, retry: 3, at: 2030-01-05T10:00}]"
        ),
    ),
    "call": (
        "call hosts(hosts: g.hosts, do: do) as c fail fast",
        "{call: hosts, body: {hosts: {expr: g.hosts}, do: do}, as: c, fail_fast: true}",
    ),
    "for": (
        "for i, h in g.hosts emit do(host: h) retry 1 times if len(g.hosts) < 3",
        "{for: 'i, h in g.hosts', type: do, body: {host: {expr: h}}, retry: 1, if: len(g.hosts) < 3}",
    ),
    "for calls": (
        "for h in g.hosts emit call hosts(hosts: [h], do: do)",
        "{for: h in g.hosts, call: hosts, body: {hosts: [{expr: h}], do: do}}",
    ),
    "others": (
        'save n: 3, skip do(host: "x"), cancel do where host == "a", cancel pay, end flow failed "no {g.type}"',
        (
            "[{save: {n: 3}}, {skip: do, body: {host: x}}, {cancel: do, where: {host: a}}, {cancel: pay},"
            ' {end: failed, text: "no {g.type}"}]'
        ),
    ),
    "a chain": (
        'do(host: "a") as d, pay(order: 1, amount: 2) then note(text: "{d.code}") then cancel flow else end flow done',
        (
            "[[{type: do, body: {host: a}, as: d}, 'pay(order: 1, amount: 2)'],"
            " [{type: note, body: {text: '{d.code}'}}], [{cancel: flow}]]\n  else: {end: done}"
        ),
    ),
}

DECLARATIONS: dict[str, tuple[str, str]] = {
    "a task and its policies": (
        """\
task build(ref: str, cores: int = 2) -> (image: str)
  run process ["make", ref] cwd "x"
  retry 5 times backoff 1s to 1m jitter while error.kind == "exit"
  timeout 30s deadline 2h expires 1d limit 4 at once by ref priority -7
  needs {cores: cores, memory: 1GiB, lock.db: shared, slots: 0}
  idempotent by ref once done on [0, 3] may fail
  finally note(text: ref)
""",
        """\
tasks:
  build:
    inputs: {ref: str, cores: int = 2}
    result: {image: str}
    run: process ["make", ref] cwd "x"
    retry: {times: 5, backoff: 1s, to: 1m, jitter: true, while: error.kind == "exit"}
    timeout: 30s
    deadline: 2h
    expires: 1d
    limit: 4 at once by ref
    priority: -7
    needs: {cores: cores, memory: 1GiB, lock.db: shared, slots: 0}
    idempotent_by: ref
    once: true
    done_on: [0, 3]
    may_fail: true
    finally: {type: note, body: {text: {expr: ref}}}
""",
    ),
    "a limit that is a number": (
        "task x(a: list[str]?) limit 3 at once retry 2 times\n",
        "tasks:\n  x: {inputs: 'a: list[str]?', limit: 3, retry: 2}\n",
    ),
    "records, events, secrets": (
        'record item(sku: str, qty: int = 1)\nevent sold(items: list[item])\nsecret key from env "A_KEY"\n',
        (
            "records:\n  item: {sku: str, qty: int = 1}\nevents:\n  sold: {items: 'list[item]'}\n"
            "secrets:\n  key: {env: A_KEY}\n"
        ),
    ),
    "a procedure of which more is said": (
        'procedure slow(n: int) deadline 2h may fail\n  first note(text: "x")\nend\n',
        (
            "procedures:\n  slow:\n    inputs: {n: int}\n    deadline: 2h\n    may_fail: true\n"
            "    first: {type: note, body: {text: x}}\n"
        ),
    ),
    "a procedure": (
        """\
procedure roll(hosts: list[str], do: task) -> (count: int)
  first for h in hosts emit do(host: h)
  when every do done then return (count: len(hosts)) else return (count: 0)
  final rule asked when ask done as a where answer == "no" then return (count: -1)
  when all of ask done as a, login as l within 1h then note(text: "x") on timeout then note(text: missing)
  finally note(text: "over")
end
""",
        """\
procedures:
  roll:
    inputs: {hosts: 'list[str]', do: task}
    result: {count: int}
    first: {for: h in hosts, type: do, body: {host: {expr: h}}}
    rules:
      - when: {every: {type: do, outcome: done}}
        then: {return: {count: {expr: len(hosts)}}}
        else: {return: {count: 0}}
      - name: asked
        final: true
        when: {type: ask, outcome: done, as: a, where: 'answer == "no"'}
        then: {return: {count: {expr: "-1"}}}
      - when: {all: [{type: ask, outcome: done, as: a}, {type: login, as: l}], within: 1h}
        then: {type: note, body: {text: x}}
        on_timeout: {type: note, body: {text: {expr: missing}}}
    finally: {type: note, body: {text: over}}
""",
    ),
    "timers": (
        (
            'every 15m start go(hosts: []) overlap queue\nevery weekday at 06:30 in "Europe/Rome" start note(text: today)\n'
            'cron "0 3 1 * *" in "Europe/Rome" start note(text: "x") catch up all\nevery day start note(text: "y")\n'
        ),
        """\
timers:
  - {every: 15m, type: go, body: {hosts: []}, overlap: queue}
  - {every: weekday, at: "06:30", zone: Europe/Rome, type: note, body: {text: {expr: today}}}
  - {cron: 0 3 1 * *, zone: Europe/Rome, type: note, body: {text: x}, catch_up: all}
  - {every: day, type: note, body: {text: y}}
""",
    ),
}
