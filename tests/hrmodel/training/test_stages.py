import json
import subprocess
import sys

import pytest

from hrmodel.training.stages import (
    BOUNDS,
    RECIPES,
    STAGES,
    InvalidHyperparameter,
    StageConfig,
    personal_stages,
    recipe_name,
    resolve,
    stages_after,
    way_to,
)


@pytest.mark.parametrize(("stage", "freeze_layers", "learning_rate"), [("stage1", (0,), 5e-4), ("stage2", (), 1e-4)])
def test_recipe_original_has_exactly_the_originals_numbers(stage, freeze_layers, learning_rate):
    assert resolve(stage, "original", {}, workouts=20) == StageConfig(
        stage=stage,
        freeze_layers=freeze_layers,
        learning_rate=learning_rate,
        batch_size=32,
        epochs=50,
        patience=10,
        dropout=0.2,
        weight_decay=1e-4,
        gradient_clip=1.0,
        seed=0,
        ema=None,
        early_stopping_min_workouts=0,
        scheduler_factor=0.5,
        scheduler_patience=3,
    )


@pytest.mark.parametrize(("stage", "freeze_layers", "share"), [("stage1", (0,), 1.0), ("stage2", (), 0.5)])
@pytest.mark.parametrize(("workouts", "rate", "epochs"), [(5, 3e-4, 8), (14, 3e-4, 8), (15, 1e-3, 20), (300, 1e-3, 20)])
def test_recipe_auto_averages_weights_and_takes_small_steps_without_early_stopping_from_few_workouts(
    stage, freeze_layers, share, workouts, rate, epochs
):
    config = resolve(stage, "auto", {}, workouts=workouts)
    assert (config.freeze_layers, config.learning_rate, config.epochs) == (freeze_layers, rate * share, epochs)
    assert (config.batch_size, config.ema, config.early_stopping_min_workouts) == (8, 0.97, 15)
    assert (config.weight_decay, config.gradient_clip, config.dropout) == (1e-4, 1.0, 0.2)


def test_the_base_stage_is_the_same_in_every_recipe():
    assert resolve("base", "original", {}, workouts=20) == resolve("base", "auto", {}, workouts=20)
    base = resolve("base", "auto", {}, workouts=20)
    assert (base.freeze_layers, base.learning_rate, base.batch_size) == ((), 2e-3, 32)
    assert (base.epochs, base.patience) == (24, 8)


def test_every_recipe_has_every_stage_under_its_name():
    assert all(resolve(stage, recipe, {}, workouts=20).stage == stage for recipe in RECIPES for stage in STAGES)


def test_an_explicit_hyperparameter_overrides_its_recipe_and_nothing_else():
    explicit = {"learning_rate": 0.01, "epochs": 3, "freeze_layers": [1, 0], "dropout": 0}
    config = resolve("stage1", "original", explicit, workouts=20)
    assert (config.learning_rate, config.epochs, config.freeze_layers, config.dropout) == (0.01, 3, (0, 1), 0.0)
    assert (config.batch_size, config.patience) == (32, 10)


@pytest.mark.parametrize("name", [name for name in BOUNDS if name != "freeze_layers"])
def test_the_bounds_themselves_are_allowed_and_beyond_them_nothing_is(name):
    low, high = BOUNDS[name]
    for value in (low, high):
        assert getattr(resolve("stage1", "auto", {name: value}, workouts=20), name) == value
    for value in (low - 1, high * 1.01 + 1, float("nan"), float("inf"), "3", None, True, [low]):
        with pytest.raises(InvalidHyperparameter, match=f"{name} must be .* from ") as caught:
            resolve("stage1", "auto", {name: value}, workouts=20)
        assert caught.value.field == name


@pytest.mark.parametrize("name", ["batch_size", "epochs", "patience", "seed"])
def test_whole_numbers_must_be_whole(name):
    with pytest.raises(InvalidHyperparameter, match="a whole number"):
        resolve("stage1", "auto", {name: 2.5}, workouts=20)


@pytest.mark.parametrize("value", [0, "0", [2], [-1], [0.0], [True], None, {"0": 1}])
def test_freeze_layers_is_a_list_of_layer_indexes(value):
    with pytest.raises(InvalidHyperparameter, match="list of layer indexes from 0 to 1"):
        resolve("stage1", "auto", {"freeze_layers": value}, workouts=20)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(InvalidHyperparameter, match="unknown hyperparameter 'lr'; known: freeze_layers, learning_rate"):
        resolve("stage1", "auto", {"lr": 1}, workouts=20)
    with pytest.raises(ValueError, match="unknown recipe 'fast'; known: original, auto"):
        resolve("stage1", "fast", {}, workouts=20)
    with pytest.raises(ValueError, match="unknown stage 'stage3'; known: base, stage1, stage2"):
        resolve("stage3", "auto", {}, workouts=20)


def test_the_recipes_old_name_seed_still_counts():
    assert resolve("stage1", "original", {}, workouts=20) == resolve("stage1", "original", {}, workouts=20)
    assert (recipe_name("seed"), recipe_name("auto")) == ("original", "auto")


def test_a_stage_is_reached_from_the_base_by_way_of_the_stages_before():
    assert [way_to(name) for name in STAGES] == [[], ["stage1"], ["stage1", "stage2"]]
    assert [stages_after(name) for name in (None, *STAGES)] == [["base"], ["stage1"], ["stage2"], []]
    assert personal_stages() == ["stage1", "stage2"]


def test_a_configuration_goes_through_json():
    config = resolve("stage1", "auto", {}, workouts=20)
    assert StageConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_stages_import_no_torch():
    code = "import sys, hrmodel.training.stages; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
