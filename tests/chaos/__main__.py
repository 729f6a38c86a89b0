"""`make chaos`: jobs under load while everything is killed, then the table. Ends with status 1 on a broken promise."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.scenario import Scenario, run, show


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--minutes", type=float, default=20.0, help="20: 1,000 jobs, 100 worker kills; in proportion")
    parser.add_argument("--log", type=Path, help="keep the list of faults, and every process's log, in this folder")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="stagewise-chaos-") as folder:
        outcome = run(Scenario.of(options.minutes, options.seed), Path(folder), keep=options.log)
    show(outcome)
    return int(bool(outcome.broken))


if __name__ == "__main__":
    sys.exit(main())
