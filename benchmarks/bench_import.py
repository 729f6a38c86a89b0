"""How fast an Apple Health export is imported, and in how much memory.

python benchmarks/bench_import.py [--sizes 87,1000] [--routes all|none]

Each export.zip is made by `apple_export.py` in a temporary folder and goes the way of an import job in a fresh process:
unpacked and read by the confined child, cleaned, written as stored. Shown are its time, interpreters included, and the
peak memory of both processes: the reader, and the one that asks and cleans. MB are those of export.xml and of the
routes, unpacked. Asserts nothing.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from apple_export import write_export

READ = "--read"


def read_export(archive: Path) -> int:
    """What is measured. The number of workouts of the export that are kept."""
    from hrmodel.workouts.cleaning.clean import clean
    from hrmodel.workouts.formats.upload import FileReport
    from hrmodel.workouts.sandbox.isolated import read_isolated

    kept = 0
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        for found in read_isolated(archive, name="export.zip", folder=Path(folder)):
            if isinstance(found, FileReport):
                continue
            workout = clean(found.workout).workout
            if workout is not None:
                (Path(folder) / workout.digest).write_bytes(workout.to_bytes())
                kept += 1
    return kept


def measured(archive: Path) -> dict[str, float]:
    """Wall seconds, processor seconds, peak MB and workouts of `read_export` in a process of its own."""
    began = time.perf_counter()
    command = [sys.executable, __file__, READ, str(archive)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {**json.loads(output), "seconds": time.perf_counter() - began}


def report_on(archive: Path) -> None:
    """The fresh process: read, then print what it took."""
    workouts = read_export(archive)
    own, child = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(used.ru_utime + used.ru_stime for used in (own, child))
    peaks = {"asker": own.ru_maxrss / 1024, "reader": child.ru_maxrss / 1024}
    print(json.dumps({"workouts": workouts, "cpu": cpu, **peaks}))


def bench(megabytes: float, routes: bool) -> None:
    """Print one row of the table."""
    with tempfile.TemporaryDirectory(prefix="bench-import-") as temporary:
        archive = Path(temporary) / "export.zip"
        write_export(archive, megabytes, routes=routes)
        with zipfile.ZipFile(archive) as packed:
            sizes = {entry.filename: entry.file_size / 1e6 for entry in packed.infolist()}
        size = sum(size for name, size in sizes.items() if name.endswith("export.xml"))
        row = measured(archive)
    figures = f"{row['seconds']:8.1f} {row['cpu']:8.1f} {size / row['seconds']:8.0f}"
    peaks = f"{row['reader']:11.0f} {row['asker']:10.0f}"
    print(f"{size:14.0f} {sum(sizes.values()) - size:10.0f} {figures} {peaks} {row['workouts']:9.0f}", flush=True)


def main() -> None:
    """Read the options, print the table."""
    if READ in sys.argv:
        report_on(Path(sys.argv[-1]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="87,1000", help="MB of export.xml, one row each")
    parser.add_argument("--routes", choices=("all", "none"), default="all")
    options = parser.parse_args()
    header = ("export.xml, MB", "routes, MB", "seconds", "CPU s", "MB/s", "reader, MB", "asker, MB", "workouts")
    print("{:>14} {:>10} {:>8} {:>8} {:>8} {:>11} {:>10} {:>9}".format(*header))
    for size in options.sizes.split(","):
        bench(float(size), options.routes == "all")


if __name__ == "__main__":
    main()
