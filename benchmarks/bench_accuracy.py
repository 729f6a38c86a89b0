"""Which model predicts best, and by how much: every version and baseline on six runners whom the base never saw.

python benchmarks/bench_accuracy.py [--quick] [--dev] [--data FILE] [--population FILE] [--base FILE] [--out FILE]
                                    [--sizes 5,10,20,40,all] [--seeds 3] [--processes 2]

From each runner's last n workouts before their test workouts, split inside as the service does, both stages are
trained and the best of base, stage 1 and stage 2 is chosen; all of them and the baselines are then scored on the test
workouts, in time order, each predicted before it is followed. Prints tables and writes JSON and a learning curve. The
same code, data and base give the same numbers. For tuning use --dev, which never scores on a test workout.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from accuracy.experiment import NONE, Plan, Result, Unit, make_units, run
from accuracy.goals import goals
from accuracy.people import Runner, read_runners, read_strangers
from accuracy.picture import draw
from accuracy.summary import per_seed, summarise, summarise_strangers
from accuracy.tables import as_text
from hrmodel.evaluation.protocols import PROTOCOLS
from hrmodel.offline.paths import shipped_base

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT.parent / "shared" / "data" / "runs"
SHOWN = ("ridge", "base", "stage1", "stage2", "chosen")
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    for path in (options.data, options.population, options.base):
        if not path.exists():
            sys.exit(f"{path} is missing: name the file with --data, --population or --base.")
    protocols = tuple(name for name in PROTOCOLS if name != "P3-30" or not options.quick)
    recipes = ("auto",) if options.quick else ("auto", "original")
    plan = Plan(sizes=options.sizes, protocols=protocols, seeds=tuple(range(options.seeds)), recipes=recipes)
    base = options.base.read_bytes()
    runners, strangers = read_runners(options.data, dev=options.dev), read_strangers(options.population)
    people = [*runners, *strangers]
    units = make_units(runners, plan, base) + [Unit(runner=each, size=NONE, plan=plan, base=base) for each in people]
    results = list(work(units, options.processes))
    content = {
        "dev": options.dev,
        "base": hashlib.sha256(base).hexdigest(),
        "seeds": list(plan.seeds),
        "protocols": list(protocols),
        "test_workouts": {runner.name: len(runner.test) for runner in runners},
        **tables(results, runners, plan),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
    picture = options.out.with_suffix(".png")
    draw(content, picture)
    print(as_text(content))
    print(f"\nwrote {options.out} and {picture}", file=sys.stderr)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with what --quick leaves out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 and 40 workouts, one seed, recipe auto, no P3-30")
    parser.add_argument("--dev", action="store_true", help="score on the last 15 %% of train + val, not on the test")
    parser.add_argument("--data", type=Path, default=RUNS / "personal.parquet", help="the personal runners")
    parser.add_argument("--population", type=Path, default=RUNS / "population.parquet", help="its val people are used")
    parser.add_argument("--base", type=Path, default=shipped_base(), help="the base model (the shipped one)")
    parser.add_argument("--out", type=Path, help="JSON to write, the picture beside it (var/bench/accuracy*.json)")
    parser.add_argument("--sizes", type=lambda text: tuple(text.split(",")), help="numbers of workouts, or all")
    parser.add_argument("--seeds", type=int, help="how many seeds each stage is trained with (3)")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    options.sizes = options.sizes or (("10", "40") if options.quick else ("5", "10", "20", "40", "all"))
    options.seeds = options.seeds or (1 if options.quick else 3)
    name = "accuracy" + "-quick" * options.quick + "-dev" * options.dev
    options.out = options.out or ROOT / "var" / "bench" / f"{name}.json"
    return options


def work(units: Sequence[Unit], processes: int) -> Iterator[Result]:
    """Do all of it, side by side, with a line on stderr for each unit done. The order of the results is any."""
    started = time.monotonic()
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    if processes == 1:
        for done, unit in enumerate(units, start=1):
            yield report(run(unit), done, len(units), started)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(run, unit) for unit in units]
        for done, future in enumerate(as_completed(futures), start=1):
            yield report(future.result(), done, len(units), started)


def report(result: Result, done: int, count: int, started: float) -> Result:
    """Say what came out."""
    shown = ", ".join(
        f"{row} {np.nanmean(per_seed(result.rows[row], 'P1')):.2f}" for row in SHOWN if row in result.rows
    )
    place = f"{done}/{count} {result.runner}, {result.workouts} workouts"
    print(f"{place}: P1 {shown} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
    return result


def tables(results: Sequence[Result], runners: Sequence[Runner], plan: Plan) -> dict[str, Any]:
    """What the results say, and the results themselves."""
    names = {runner.name for runner in runners}
    sizes = summarise(results, plan)
    held_out = summarise_strangers([result for result in results if result.runner not in names], plan)
    own = summarise_strangers([result for result in results if result.runner in names], plan)
    ordered = sorted(results, key=lambda result: (result.runner, result.size))
    return {
        "sizes": sizes,
        "strangers": {"held-out people": held_out, "runners": own},
        "goals": goals(sizes, held_out, plan.protocols),
        "per_workout": [
            {"runner": r.runner, "size": r.size, "workouts": r.workouts, "choices": r.choices, "rows": rounded(r.rows)}
            for r in ordered
        ],
    }


def rounded(values: Any) -> Any:
    """The numbers of a table in four decimals."""
    if isinstance(values, dict):
        return {name: rounded(value) for name, value in values.items()}
    return [rounded(value) for value in values] if isinstance(values, list) else round(values, 4)


if __name__ == "__main__":
    main()
