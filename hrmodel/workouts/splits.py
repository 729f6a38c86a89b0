"""Which workouts teach, which stop the training, which measure it: whole workouts, in time order (design section 4)."""

from collections.abc import Mapping, Sequence

MIN_WORKOUTS = 8  # fewer: all train, the base model serves


def chronological_split(n: int) -> list[str]:
    """The split of n workouts in time order: train, then val, then test. Raises ValueError for a negative n."""
    if n < 0:
        raise ValueError(f"cannot split {n} workouts")
    if n < MIN_WORKOUTS:
        return ["train"] * n
    n_test = max(3, -(-15 * n // 100))  # whole numbers: 0.15 n is not exact
    n_val = max(2, 15 * n // 100)
    return ["train"] * (n - n_val - n_test) + ["val"] * n_val + ["test"] * n_test


def extend_split(old: Mapping[str, str], digests: Sequence[str]) -> list[str]:
    """The split of one subject's workouts, named by digest in time order, when `old` (digest -> split) came before.

    Those in `old` keep theirs and the new ones are split among themselves, so that a test workout never becomes a
    training workout. When nothing old was held out as `test`, all are split anew: a first upload that was too small
    must not keep the subject without a test set for ever.
    """
    if "test" not in old.values():
        return chronological_split(len(digests))
    new = iter(chronological_split(sum(digest not in old for digest in digests)))
    return [old[digest] if digest in old else next(new) for digest in digests]
