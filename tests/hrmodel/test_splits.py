import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrmodel.workouts.splits import chronological_split, extend_split


@pytest.mark.parametrize(
    ("n", "counts"),
    [(0, (0, 0, 0)), (7, (7, 0, 0)), (8, (3, 2, 3)), (20, (14, 3, 3)), (57, (40, 8, 9)), (100, (70, 15, 15))],
)
def test_the_sizes_follow_the_design(n, counts):
    split = chronological_split(n)
    assert tuple(split.count(name) for name in ("train", "val", "test")) == counts


@given(st.integers(8, 2000))
def test_test_is_last_val_before_it_and_train_is_never_empty(n):
    split = chronological_split(n)
    assert len(split) == n
    assert split == sorted(split, key=("train", "val", "test").index)
    assert split.count("train") >= 3


def test_old_workouts_keep_their_split_and_new_ones_are_split_among_themselves():
    digests = [f"workout {number}" for number in range(20)]
    old = dict.fromkeys(digests[5:15], "test")
    split = extend_split(old, digests)
    assert split[5:15] == ["test"] * 10
    assert split[:5] + split[15:] == chronological_split(10)


def test_nothing_new_changes_nothing():
    digests = [f"workout {number}" for number in range(9)]
    first = extend_split({}, digests)
    assert first == chronological_split(9)
    assert extend_split(dict(zip(digests, first, strict=True)), digests) == first


def test_a_subject_whose_first_upload_was_too_small_gets_a_test_set_with_the_next_one():
    digests = [f"workout {number}" for number in range(10)]
    old = dict(zip(digests[:5], chronological_split(5), strict=True))
    assert set(old.values()) == {"train"}
    assert extend_split(old, digests) == chronological_split(10)
    assert "test" in extend_split(old, digests)
