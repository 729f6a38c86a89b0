"""Nothing that is read can run code: no pickles in any form, no eval, no shell."""

import ast
from pathlib import Path

import pytest

from service.operations.queue import broker_options
from tests.test_imports import FILES, ROOT, imports_of, within

MODULES = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle", "code")
ERRORS = {"pickle.UnpicklingError"}  # what torch raises for a file that is none of ours
CALLS = {"eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system"}


def dotted(node: ast.AST) -> str:
    """`torch.load` of the node that names it; empty when it is something else."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def is_true(call: ast.Call, name: str) -> bool:
    return any(
        word.arg == name and isinstance(word.value, ast.Constant) and word.value.value is True for word in call.keywords
    )


def dangers(tree: ast.AST) -> list[str]:
    """What in a file could run what it reads."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = dotted(call.func)
        if name in CALLS:
            found.append(name)
        if name == "torch.load" and not is_true(call, "weights_only"):
            found.append("torch.load without weights_only=True")
        found += [word.arg for word in call.keywords if word.arg == "allow_pickle" and not constant_false(word.value)]
        if is_true(call, "shell"):
            found.append("shell=True")
    return found


def constant_false(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_can_run_what_it_reads(path: Path):
    assert dangers(ast.parse(path.read_text())) == []
    assert [name for name in imports_of(path) if within(name, *MODULES) and name not in ERRORS] == []


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "yaml.load(text)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_rule_finds(source):
    assert len(dangers(ast.parse(source))) == 1


def test_the_rule_lets_safe_reading_through():
    assert dangers(ast.parse("torch.load(p, weights_only=True); np.load(p, allow_pickle=False); re.compile(p)")) == []


def test_messages_are_json_only():
    options = broker_options()
    assert (options["accept_content"], options["task_serializer"]) == (["json"], "json")
    assert options["result_backend"] is None
