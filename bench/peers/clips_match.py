"""CLIPS 6.4 through clipspy: which rules does one record activate?

A worker: `python -m bench.peers.clips_match WORKLOAD RULES RECORDS`, by the
interpreter of bench's own venv; the questions are those of bench/matchers.py.

A record is a fact of one deftemplate, a rule a defrule over its slots with an
empty action. Timed for one record: `Template.assert_fact` with a value for each
slot that the rules of the workload look at (symbols made beforehand), the names
of all activations off the agenda, `retract`. Of the ways that clipspy has this
was the quickest: `assert_string` and `run` took three times as long. About 15 µs
of it are clipspy's own way into C. A slot that a record lacks keeps its default,
which no rule asks for. CLIPS has no regex: such rules are given to it as their
prefix, which the records make equal, so that it has less to do.
"""

import sys
import time

import clips

from bench.matchers import memory_mib, serve
from bench.workloads import REGEX_END, Record, Rule, workload

SLOTS = {"project": "nil", "target": "nil", "size": "-1", "region": "nil", "path": '""'}
Symbol = clips.Symbol


def defrule(number: int, rule: Rule) -> str:
    slots = " ".join(f"({field} {constraint(operator, operand)})" for field, operator, operand in rule)
    return f"(defrule r{number} (task {slots}) =>)"


def constraint(operator: str, operand) -> str:
    if operator == "==":
        return str(operand)
    if operator == "in":
        return "|".join(operand)
    if operator == "range":
        return f"?x&:(and (>= ?x {operand[0]}) (< ?x {operand[1]}))"
    prefix = operand.removeprefix("^").removesuffix(REGEX_END)
    return f'?x&:(eq 1 (str-index "{prefix}" ?x))'


def main(name: str, rules: int, records: int) -> None:
    given = workload(name, rules, records)
    before = memory_mib()
    begun = time.thread_time()
    environment = clips.Environment()
    asked = {field for rule in given.rules for field, _, _ in rule}
    slots = [slot for slot in SLOTS if slot in asked]
    declared = " ".join(f"(slot {slot} (default {SLOTS[slot]}))" for slot in slots)
    environment.build(f"(deftemplate task (slot type) (slot outcome) {declared})")
    for number, rule in enumerate(given.rules):
        environment.build(defrule(number, rule))
    ready = {"load_s": time.thread_time() - begun, "load_mib": memory_mib() - before}
    template = environment.find_template("task")
    activations = environment.activations

    def match(fact_slots):
        fact = template.assert_fact(**fact_slots)
        names = [activation.name for activation in activations()]
        fact.retract()
        return names

    facts = [fact_of(record, slots) for record in given.records]
    serve(match, facts, lambda names: [int(name[1:]) for name in names], ready)


def fact_of(record: Record, slots: list[str]) -> dict:
    values = {"type": Symbol(record.type), "outcome": Symbol(record.outcome)}
    for slot in slots:
        if slot in record.body:
            value = record.body[slot]
            values[slot] = Symbol(value) if type(value) is str and slot != "path" else value
    return values


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
