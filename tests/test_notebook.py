"""The notebook of the docs runs from top to bottom, and holds the outputs of such a run."""

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.readme import DOCS

NOTEBOOK = DOCS / "notebooks" / "personal_model.ipynb"
TINY = 'WORKOUTS = 9\nHYPERPARAMETERS = {"epochs": 1}'


@pytest.fixture
def notebook() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def pictures(notebook: NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def test_the_notebook_runs_on_few_workouts(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    parameters = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(parameters) == 1
    parameters[0].source = TINY
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    assert pictures(notebook) == 1
    assert outputs(notebook)[-1].data["text/plain"] == "True"


def test_the_stored_outputs_are_of_one_whole_run_and_small(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {output.output_type for output in outputs(notebook)} <= {"execute_result", "display_data", "stream"}
    assert pictures(notebook) == 1
    assert NOTEBOOK.stat().st_size < 150_000
