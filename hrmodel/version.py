"""The version of the code and the digest of the data, for checkpoints."""

import hashlib
from collections.abc import Iterable
from importlib.metadata import version

CODE_VERSION = version("stagewise")


def digest_of(digests: Iterable[str]) -> str:
    """SHA-256 over the workouts' digests in order: names a training set."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
