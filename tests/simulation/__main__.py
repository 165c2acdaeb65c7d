"""`python -m tests.simulation --first 0 --seeds 100000`: as many seeds as there is time for."""

from __future__ import annotations

import argparse
import time

from tests.simulation import test_simulation


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--seeds", type=int, default=1000)
    given = options.parse_args()
    begun = time.perf_counter()
    for seed in range(given.first, given.first + given.seeds):
        try:
            (test_simulation.wild if seed % 2 else test_simulation.calm)(seed)
        except BaseException:
            print(f"seed {seed}:", flush=True)
            raise
    print(f"{given.seeds} seeds in {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
