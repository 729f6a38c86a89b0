"""Who may import whom: the rules of ARCHITECTURE.md, read from the syntax tree of every file."""

import ast
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
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
    *("service.registry", "service.settings", "service.errors", "service.logs", "service.forking"),
    "service.operations.queue",
)
NO_QUERY = ("sqlalchemy.orm.Session", "sqlalchemy.exc", "sqlalchemy.event")  # of SQLAlchemy, outside the registry
PUBLIC = ("hrmodel", "service.client")  # packages that offer what their modules define
BELOW_WEB = ("service.web", "service.registry", "service.settings", "service.errors", "service.logs")
KNOWS_NO_NOUN = {
    "service.web": (*BELOW_WEB, "service.local", "service.forking"),
    "service.operations": (*BELOW_WEB, "service.operations"),
}
ENTRIES = {"hrmodel", "hrmodel.__main__", "service.cli.__main__"}  # beside the commands of pyproject.toml


def module_name(path: Path) -> str:
    """hrmodel/signals/grid.py -> hrmodel.signals.grid; a package's __init__.py -> the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


ROOMS = {module_name(path) for path in FILES if path.name == "__init__.py"}


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
    if within(imported, "sqlalchemy") and not within(importer, "service.registry") and not within(imported, *NO_QUERY):
        return "only service.registry makes queries"
    for package, below in KNOWS_NO_NOUN.items():
        if within(importer, package) and within(imported, "service", "worker") and not within(imported, *below):
            return f"{package} imports of service only {', '.join(below)}"
    if within(importer, "service.registry") and within(imported, "fastapi", "celery", "torch"):
        return "service.registry knows no web, no Celery, no torch"
    if within(importer, "worker") and within(imported, "service") and not within(imported, *SHARED_WITH_WORKER):
        return f"worker imports of service only {', '.join(SHARED_WITH_WORKER)}"
    return None


@cache
def modules() -> dict[str, set[str]]:
    """Each module of ours and the modules of ours that its file imports, in functions and under TYPE_CHECKING too."""
    names = {module_name(path) for path in FILES}
    return {module_name(path): set(known(imports_of(path), names)) - {module_name(path)} for path in FILES}


def known(imported: Iterable[str], names: set[str]) -> Iterator[str]:
    """The module of `names` that each dotted name is in, if there is one."""
    for name in imported:
        while name and name not in names:
            name = name.rpartition(".")[0]
        if name:
            yield name


def packages() -> dict[str, set[str]]:
    """Each package and the packages that its modules import; a module beside the packages counts as one."""
    made: dict[str, set[str]] = {}
    for module, imported in modules().items():
        own = package_of(module)
        made.setdefault(own, set()).update(package_of(name) for name in imported - ROOMS)
        made[own].discard(own)
    return made


def package_of(module: str) -> str:
    """service.web.deps -> service.web; service.app -> service.app."""
    package = module if module in ROOMS else module.rpartition(".")[0]
    return module if package in ("hrmodel", "service") else package


def reached(graph: Mapping[str, set[str]], starts: Iterable[str]) -> set[str]:
    """All that the starts import, directly or not; the starts only if something imports them."""
    found: set[str] = set()
    waiting = [name for start in starts for name in graph.get(start, ())]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph.get(name, ())
    return found


def circles(graph: Mapping[str, set[str]]) -> set[frozenset[str]]:
    """The sets of nodes that reach each other."""
    below = {name: reached(graph, [name]) for name in graph}
    return {frozenset(b for b in below[a] if a in below[b]) for a in graph if a in below[a]}


def named(path: Path) -> Iterator[str]:
    """What strings of a file name: "service.app:create_app" and "worker.app"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value.partition(":")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_keeps_the_rules(path):
    found = {imported: breach(module_name(path), imported) for imported in imports_of(path)}
    assert {imported: rule for imported, rule in found.items() if rule} == {}


def test_no_two_files_import_each_other():
    assert circles(modules()) == set()


def test_no_two_packages_import_each_other():
    assert circles(packages()) == set()


def test_a_circle_is_seen_whatever_its_length():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}
    assert circles(graph) == {frozenset("abc")}


def test_every_module_is_reached_from_a_command():
    commands = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].values()
    starts = ENTRIES | {command.partition(":")[0] for command in commands}
    by_name = {module_name(path): set(named(path)) & modules().keys() for path in FILES}
    graph = {module: imported | by_name[module] for module, imported in modules().items()}
    assert modules().keys() - reached(graph, starts) - starts - ROOMS == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_init_files_import_nothing(package):
    inits = [path for path in (ROOT / package).rglob("__init__.py") if module_name(path) not in PUBLIC]
    importing = {str(path): list(imports_of(path)) for path in inits}
    assert {path: names for path, names in importing.items() if names} == {}


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
        ("worker.completion", "sqlalchemy.select"),
        ("service.jobs.router", "sqlalchemy.orm.joinedload"),
        ("service.web.deps", "service.jobs.live"),
        ("service.web.deps", "service.operations.queue"),
        ("service.operations.metrics", "service.predict.cache"),
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
        ("worker.completion", "sqlalchemy.exc.IntegrityError"),
        ("service.registry.jobs", "sqlalchemy.select"),
    ]
    assert [breach(*pair) for pair in right] == [None] * len(right)


def test_relative_imports_are_resolved(tmp_path, monkeypatch):
    monkeypatch.setitem(module_name.__globals__, "ROOT", tmp_path)
    path = tmp_path / "worker" / "deep" / "runner.py"
    path.parent.mkdir(parents=True)
    path.write_text("from ..app import app\nfrom . import near\n")
    assert list(imports_of(path)) == ["worker.app.app", "worker.deep.near"]
