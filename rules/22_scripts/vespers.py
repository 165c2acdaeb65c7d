"""Rings the bells of a town, one church after the other's first stroke, and counts who has rung."""

from then.scripts import log, run, wait

CHURCHES = {"Florence": ["San Marco", "Santa Croce", "San Lorenzo"]}


def main(town: str) -> dict[str, int]:
    strokes = [run("ring", church=church, times=len(church)) for church in CHURCHES[town]]
    heard = [record.result["heard"] for record in wait(strokes) if record.result]
    log("heard", strokes=sum(heard))
    return {"churches": len(heard)}
