"""What a stage is stands in two places, which agree; whatever else depends on a stage asks one of them."""

import ast
from pathlib import Path

import pytest

from hrmodel.training.stages import STAGES
from service.app import create_app
from service.jobs.schemas import REQUESTS
from service.registry.jobs import TRAINING_STAGES
from service.registry.tables import PERSONAL_STAGES, DatasetKind, Job, Stage
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
# beside its line in the list of tables.py, and the migration that allows it in the column
PLACES_OF_A_STAGE = {
    "hrmodel/training/stages.py",  # its entry in STAGES
    "service/registry/tables.py",  # its line in Stage
    "service/jobs/schemas.py",  # what its request may say
    "service/jobs/router.py",  # its endpoint
    "service/client/client.py",  # its method in the client
    "hrmodel/api.py",  # its function in the Python API
}


def test_the_stages_of_the_tables_are_those_that_train():
    assert [stage.value for stage in TRAINING_STAGES] == list(STAGES)
    assert {stage.value: stage.personal for stage in TRAINING_STAGES} == {
        name: stage.personal for name, stage in STAGES.items()
    }


@pytest.mark.parametrize("stage", TRAINING_STAGES)
def test_a_stage_trains_on_the_kind_of_datasets_that_its_entry_says(stage):
    assert stage.trains == (DatasetKind.PERSONAL if STAGES[stage].personal else DatasetKind.POPULATION)
    before = STAGES[stage].starts_from
    assert before is None or Stage(before) in TRAINING_STAGES


def test_jobs_that_train_nothing_have_no_datasets_to_train_on():
    assert {stage for stage in Stage if stage.trains is None} == {Stage.IMPORT, Stage.FLEET}
    assert [stage.label for stage in PERSONAL_STAGES] == ["stage 1", "stage 2"]


def test_every_stage_has_a_request_an_endpoint_and_its_place_in_the_column(tmp_path):
    paths = create_app(Settings(state_dir=tmp_path)).openapi()["paths"]
    assert list(REQUESTS) == list(TRAINING_STAGES)
    assert all("post" in paths[f"/jobs/{stage}"] for stage in TRAINING_STAGES)
    assert Job.__table__.c.stage.type.enums == [stage.value for stage in Stage]


def test_no_other_file_decides_by_the_name_of_a_personal_stage():
    files = [path for package in ("hrmodel", "service", "worker") for path in (ROOT / package).rglob("*.py")]
    names = {path.relative_to(ROOT).as_posix() for path in files if _decides_by_a_stages_name(path)}
    assert names == PLACES_OF_A_STAGE


def _decides_by_a_stages_name(path):
    """Whether a stage stands in the code as a member, or as text outside of an example."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    examples = {id(node) for value in _values_of_dicts(tree) for node in ast.walk(value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {stage.name for stage in PERSONAL_STAGES}:
            return True
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
        if text in {stage.value for stage in PERSONAL_STAGES} and id(node) not in examples:
            return True
    return False


def _values_of_dicts(tree):
    """The values under the key "stage" in any dict: examples of answers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from (value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "stage")
