"""The same in Python: functions as tasks, filters as data, generators as consequences."""

import then
from then import it

rules = then.Rules()
rules.event("numbers.given", numbers=list)


@rules.task("square")
def square(number):
    return {"square": number * number}


@rules.task("add", once=True)
def add(numbers):
    return {"sum": sum(numbers)}


@rules.when("numbers.given", it.numbers[0] >= 0)
def each(given):
    for number in given.body["numbers"]:
        yield then.emit("square", number=number, then=squared)


@rules.continuation
def squared(record):
    if record.result["square"] > 50:
        yield then.emit("add", numbers=[record.body["number"], record.result["square"]])


@rules.when("square", "failed", it.record.error.kind == "exception")
def no_number(square):
    yield then.emit("add", numbers=[])
