"""The benchmarks of training run on a few simulated workouts, so that they are there when somebody needs them."""

import bench_training


def test_every_contender_trains_and_the_ratios_are_shown_beside_their_bounds(capsys):
    bench_training.main(["--workouts", "6", "--epochs", "1", "--rounds", "1", "--batch-size", "4"])
    table = capsys.readouterr().out
    for label in ("stage 1 / stage 2", "stage 1 / plain loop, layer 0 frozen", "stages 1 + 2 / plain loop"):
        assert label in table
