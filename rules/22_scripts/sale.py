"""Offers a painting to a person, reminds after 20 hours, and gives up after a day. It holds no thread while it waits."""

from then.scripts import TaskFailed, emit, run, wait


def main(title: str, price: int) -> None:
    signed = run("sign", title=title, price=price)
    try:
        try:
            wait(signed, timeout="20h")
        except TimeoutError:
            run("report", text=f"still waiting for {title}")
            wait(signed, timeout="4h")
    except TimeoutError:
        emit("withdrawn", title=title, why="nobody signed")
    except TaskFailed:
        emit("withdrawn", title=title, why="turned down")
    else:
        emit("sold", title=title)
