"""Thousands of personal models through one cache of 500 MB: memory, and what a load costs beside a hit.

python benchmarks/bench_cache.py [--models 5000] [--passes 3] [--threads 4]

Each model is a registered file of the shipped network's size with weights of its own, asked for in random order.
Prints; asserts nothing.
"""

import argparse
import platform
import random
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import torch

from hrmodel.offline.start import read_base
from service.predict.cache import MAX_BYTES, ModelCache
from service.registry.artifacts import ArtifactStore
from service.registry.tables import ModelVersion, Stage


def resident_mb() -> float:
    """Memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def make_models(store: ArtifactStore, count: int) -> list[ModelVersion]:
    """Registered files, each with weights of its own."""
    base, versions = read_base(None).checkpoint, []
    for number in range(count):
        moved = {name: tensor + 1e-6 * number for name, tensor in base.weights.items()}
        data = replace(base, weights=moved, history=[]).to_bytes()
        account = None
        store.put(account, data)
        versions.append(
            ModelVersion(
                id=uuid4(), account_id=account, stage=Stage.STAGE2, sha256=sha256(data).hexdigest(), size=len(data)
            )
        )
    return versions


def ask(cache: ModelCache, versions: Sequence[ModelVersion], threads: int) -> tuple[float, int]:
    """Ask for each in the given order; seconds, and how many were in memory."""
    hits = 0

    def one(wanted: ModelVersion) -> bool:
        torch.set_num_threads(1)
        there = cache.ready(wanted.id) is not None
        cache.get(wanted)
        return there

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        hits = sum(pool.map(one, versions))
    return time.perf_counter() - started, hits


def main() -> None:
    """Read the options, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=5000)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    print(f"{platform.system()}, Python {platform.python_version()}, torch {version('torch')}")
    with tempfile.TemporaryDirectory(prefix="bench-cache-") as folder:
        store = ArtifactStore(Path(folder))
        versions = make_models(store, options.models)
        chance, cache = random.Random(0), ModelCache(store)
        cache.get(versions[0])
        print(f"{options.models} models of {versions[0].size / 1e6:.2f} MB, a cache of {MAX_BYTES / 2**20:.0f} MiB")
        print(f"{'asked for':>12}{'in memory':>12}{'hits':>9}{'ms/load':>9}{'counted MiB':>13}{'resident MiB':>14}")
        print(f"{0:12}{len(cache):12}{'':9}{'':9}{cache.bytes / 2**20:13.0f}{resident_mb():14.0f}")
        asked = 0
        for _ in range(options.passes):
            order = chance.sample(versions, len(versions))
            for start in range(0, len(order), 1000):
                part = order[start : start + 1000]
                seconds, hits = ask(cache, part, options.threads)
                asked += len(part)
                each = 1e3 * seconds / max(len(part) - hits, 1)
                print(f"{asked:12}{len(cache):12}{hits:9}{each:9.2f}{cache.bytes / 2**20:13.0f}{resident_mb():14.0f}")
        recent = [each for each in versions if cache.ready(each.id) is not None][:500]
        seconds, _ = ask(cache, recent, options.threads)
        print(f"a hit takes {1e6 * seconds / len(recent):.0f} us")


if __name__ == "__main__":
    main()
