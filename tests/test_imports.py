"""Who may import whom: the rules of ARCHITECTURE.md, read from the syntax tree of every file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hrmodel", "service", "worker")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LAYERS = {"workouts": 0, "signals": 1, "personal": 2, "network": 3, "training": 4, "prediction": 5, "planning": 6}
LAYERS |= {"evaluation": 6}
ON_TOP = 7  # __main__, the commands, the shipped base: they may use every layer, and no layer uses them
SAYS_WHAT_IS_CONFINED = "service.dashboard.pages"
MAY_IMPORT_HRMODEL = (
    *("service.predict", "service.jobs", "service.models", "service.subjects", "service.cli"),
    SAYS_WHAT_IS_CONFINED,
)
SHARED_WITH_WORKER = (
    *("service.registry", "service.settings", "service.errors", "service.logs"),
    "service.operations.queue",
)
PUBLIC = ("hrmodel", "service.client")  # packages that offer what their modules define


def module_name(path: Path) -> str:
    """hrmodel/signals/grid.py -> hrmodel.signals.grid; a package's __init__.py -> the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """The dotted name of everything that the file imports, anywhere in it; `from a import b` gives a.b."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def within(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of the packages or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def layer_of(name: str) -> tuple[int, str]:
    """The rank and the name of the layer of a module of hrmodel."""
    layer = name.split(".")[1] if "." in name else ""
    return LAYERS.get(layer, ON_TOP), layer


def goes_down(importer: str, imported: str) -> bool:
    """Whether an import inside hrmodel stays in its layer or goes to a lower one."""
    (above, own), (below, other) = layer_of(importer), layer_of(imported)
    return own == other or below < above or above == ON_TOP


def breach(importer: str, imported: str) -> str | None:
    """The rule that this import breaks, or None."""
    if within(importer, "hrmodel"):
        if within(imported, "service", "worker", "sqlalchemy", "fastapi", "celery"):
            return "hrmodel knows no service"
        if within(imported, "hrmodel") and not goes_down(importer, imported):
            return (
                "inside hrmodel only downwards: workouts, signals, personal, network, training, prediction, evaluation"
            )
    if within(importer, "service"):
        if within(imported, "worker"):
            return "service never imports worker"
        if within(imported, "hrmodel") and not within(importer, *MAY_IMPORT_HRMODEL):
            return f"only {', '.join(MAY_IMPORT_HRMODEL)} import hrmodel"
    if within(importer, "service.registry") and within(imported, "fastapi", "celery", "torch"):
        return "service.registry knows no web, no Celery, no torch"
    if within(importer, "worker") and within(imported, "service") and not within(imported, *SHARED_WITH_WORKER):
        return f"worker imports of service only {', '.join(SHARED_WITH_WORKER)}"
    return None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_keeps_the_rules(path):
    found = {imported: breach(module_name(path), imported) for imported in imports_of(path)}
    assert {imported: rule for imported, rule in found.items() if rule} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_init_files_import_nothing(package):
    inits = [path for path in (ROOT / package).rglob("__init__.py") if module_name(path) not in PUBLIC]
    importing = {str(path): list(imports_of(path)) for path in inits}
    assert {path: names for path, names in importing.items() if names} == {}


def test_routers_run_no_queries():
    asking = {
        str(path.relative_to(ROOT)): name
        for path in FILES
        if path.name == "router.py"
        for name in imports_of(path)
        if within(name, "sqlalchemy") and not within(name, "sqlalchemy.orm.Session")
    }
    assert asking == {}


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("hrmodel.workouts.splits", "hrmodel.signals.grid"),
        ("hrmodel.training.fit", "hrmodel.prediction.predictor"),
        ("hrmodel.training.fit", "hrmodel.evaluation.report"),
        ("hrmodel.network.lstm", "hrmodel.offline.commands"),
        ("hrmodel.training.fit", "celery.app"),
        ("service.registry.jobs", "torch"),
        ("service.registry.jobs", "hrmodel.workouts.workout"),
        ("service.operations.queue", "worker.app"),
        ("service.datasets.service", "hrmodel.workouts.formats"),
        ("worker.runner", "service.jobs.service"),
    ],
)
def test_the_rules_catch_a_breach(importer, imported):
    assert breach(importer, imported) is not None


def test_the_rules_let_the_right_imports_through():
    right = [
        ("hrmodel.evaluation.report", "hrmodel.training.stages"),
        ("hrmodel.signals.grid", "hrmodel.signals.features"),
        ("hrmodel.__main__", "hrmodel.evaluation.report"),
        ("service.jobs.service", "hrmodel.training.stages"),
        ("worker.runner", "service.registry.jobs"),
    ]
    assert [breach(*pair) for pair in right] == [None] * len(right)


def test_relative_imports_are_resolved(tmp_path, monkeypatch):
    monkeypatch.setitem(module_name.__globals__, "ROOT", tmp_path)
    path = tmp_path / "worker" / "deep" / "runner.py"
    path.parent.mkdir(parents=True)
    path.write_text("from ..app import app\nfrom . import near\n")
    assert list(imports_of(path)) == ["worker.app.app", "worker.deep.near"]
