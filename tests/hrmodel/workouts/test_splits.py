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


def test_old_workouts_keep_their_split_and_the_last_of_the_new_ones_are_held_out():
    old = chronological_split(20)
    split = extend_split([*old, *[None] * 20])
    assert split[:20] == old
    assert split[20:] == ["train"] * 14 + ["val"] * 3 + ["test"] * 3


def test_the_held_out_share_stays_when_workouts_come_one_by_one():
    split = chronological_split(8)
    for _ in range(92):
        split = extend_split([*split, None])
    assert split[:8] == chronological_split(8)
    assert [split.count(name) for name in ("train", "val", "test")] == [70, 15, 15]


def test_new_workouts_from_between_old_ones_change_none_of_them():
    old = chronological_split(10)
    split = extend_split([None, *old[:5], None, *old[5:]])
    assert [split[1:6], split[7:]] == [old[:5], old[5:]]


def test_nothing_new_changes_nothing():
    first = chronological_split(9)
    assert extend_split([None] * 9) == first
    assert extend_split(first) == first


def test_a_subject_whose_first_upload_was_too_small_gets_a_test_set_with_the_next_one():
    old = chronological_split(5)
    assert set(old) == {"train"}
    assert extend_split([*old, *[None] * 5]) == chronological_split(10)


@given(st.lists(st.sampled_from(["train", "val", "test", None]), max_size=60))
def test_no_workout_that_was_held_out_is_ever_learned_from(inherited):
    split = extend_split(inherited)
    assert len(split) == len(inherited)
    if "test" in inherited:
        assert all(after == before for before, after in zip(inherited, split, strict=True) if before)
