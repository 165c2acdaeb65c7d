"""Compiles grammar.lark to tables.json, by Lark: `python -m then.language.build_tables`.

The one place where Lark is imported; nothing that runs rules needs it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Final

import lark
import msgspec
from lark.grammar import Rule, Terminal
from lark.lexer import PatternStr
from lark.parsers.lalr_analysis import IntParseTable

from then.language.tables import END, STARTS, TABLES_FILE, Production, Tables

GRAMMAR_FILE: Final = os.path.join(os.path.dirname(__file__), "grammar.lark")


def compile_tables(grammar: str) -> Tables:
    """Tables for a grammar.

    Raises:
        lark.exceptions.GrammarError: it is no grammar, or ambiguous.
    """

    class AlwaysNames:
        # Words are told from names by the state of the parser, and `doneas` is one word everywhere.
        always_accept = ("NAME",)

    built = lark.Lark(grammar, parser="lalr", start=list(STARTS), postlex=AlwaysNames())
    table = built.parser.parser._parse_table  # noqa: SLF001 - Lark has no public way to its tables.
    order = sorted(built.terminals, key=lambda t: (-t.priority, -t.pattern.max_width, -len(t.pattern.value), t.name))
    terminals = {t.name for t in built.terminals} | {"$END"}
    texts = {t.name: t.pattern.value for t in order if isinstance(t.pattern, PatternStr)}
    productions = {rule: number for number, rule in enumerate(built.rules)}
    states = _numbered(table)
    actions: list[dict[str, int]] = [{} for _ in states]
    gotos: list[dict[str, int]] = [{} for _ in states]
    for state, number in states.items():
        for name, (action, arg) in sorted(table.states[state].items()):
            symbol = END if name == "$END" else str(name)
            if action.name == "Reduce":
                actions[number][symbol] = -productions[arg] - 1
            elif name in terminals:
                actions[number][symbol] = states[arg]
            else:
                gotos[number][symbol] = states[arg]
    for start in STARTS:
        # Lark stops where it comes to this state; here the end is a terminal like any.
        end = states[table.end_states[start]]
        actions[end][END] = end
    return Tables(
        grammar=hashlib.sha256(grammar.encode()).hexdigest(),
        keywords={text: name for name, text in sorted(texts.items()) if text.isalpha()},
        punctuation={text: name for name, text in texts.items() if not text.isalpha()},
        patterns=tuple(
            (t.name, t.pattern.to_regexp()) for t in order if t.name not in texts and t.name not in built.ignore_tokens
        ),
        kept=frozenset(
            str(s.name) for rule in built.rules for s in map(rule.expansion.__getitem__, _kept(rule)) if s.is_term
        ),
        productions=[_production(rule) for rule in built.rules],
        actions=actions,
        gotos=gotos,
        starts={name: states[table.start_states[name]] for name in STARTS},
    )


def _numbered(table: IntParseTable) -> dict[int, int]:
    """New numbers for the states, in the order in which they are reached: Lark's differ from run to run."""
    numbers: dict[int, int] = {}
    todo = [table.start_states[start] for start in STARTS]
    for state in todo:
        if state not in numbers:
            numbers[state] = len(numbers)
            row = sorted(table.states[state].items())
            todo.extend(arg for _, (action, arg) in row if action.name != "Reduce")
    return numbers


def _kept(rule: Rule) -> list[int]:
    """Which symbols of a rule Lark keeps in its tree."""
    everything = rule.options.keep_all_tokens
    return [i for i, s in enumerate(rule.expansion) if everything or not (isinstance(s, Terminal) and s.filter_out)]


def _production(rule: Rule) -> Production:
    keep = _kept(rule)
    return Production(
        origin=str(rule.origin.name),
        size=len(rule.expansion),
        name=str(rule.alias or rule.origin.name),
        keep=tuple(keep),
        spliced=tuple(i for i in keep if not rule.expansion[i].is_term and rule.expansion[i].name.startswith("_")),
        folds=bool(rule.options.expand1 and not rule.alias),
        symbols=tuple(str(s.name) for s in rule.expansion),
    )


def main() -> None:
    """Writes tables.json."""
    with open(GRAMMAR_FILE, encoding="utf-8") as file:
        compiled = compile_tables(file.read())
    # Keys stay in the order in which they were made, which is fixed: a diff shows what changed.
    data = msgspec.json.encode(compiled, order="deterministic")
    with open(TABLES_FILE, "wb") as out:
        out.write(data + b"\n")
    sys.stdout.write(f"{TABLES_FILE}: {len(compiled.actions)} states, {len(data)} bytes\n")


if __name__ == "__main__":
    main()
