"""Random texts through the parser for as long as one likes: `python tests/soak/parser.py --inputs 1000000`."""

import argparse
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from faults.reading import fuzz

STEP = 20_000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start, accepted, done = time.perf_counter(), 0, 0
    while done < options.inputs:
        num = min(STEP, options.inputs - done)
        accepted += fuzz(num, seed=f"{options.seed}-{done}")
        done += num
        print(f"{done:,} texts, {accepted:,} of them programs, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
