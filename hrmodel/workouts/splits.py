"""The split into training, validation and test workouts: whole workouts, in time order."""

from collections.abc import Sequence

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


def extend_split(inherited: Sequence[str | None]) -> list[str]:
    """The split of one subject's workouts in time order, when some of them have one from before (None: new).

    Workouts with a split keep it: a test workout never becomes a training workout, nor vice versa. Of the new workouts
    the last are held out until val and test have the sizes that `chronological_split` gives all of them, so that test
    sets also grow for a person who brings one workout at a time. While nothing is held out as `test`, all are split
    anew: a first upload that was too small must not keep the subject without a test set for ever.
    """
    target = chronological_split(len(inherited))
    if "test" not in inherited:
        return target
    new = inherited.count(None)
    n_test = min(new, max(0, target.count("test") - inherited.count("test")))
    n_val = min(new - n_test, max(0, target.count("val") - inherited.count("val")))
    fresh = iter(["train"] * (new - n_val - n_test) + ["val"] * n_val + ["test"] * n_test)
    return [split or next(fresh) for split in inherited]
