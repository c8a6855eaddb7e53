"""The order of the subpackages: imports between them run one way."""

import ast
import graphlib
import pathlib

import dbp_tf

PACKAGE = pathlib.Path(dbp_tf.__file__).parent


def part(name):
    """The folder or module right below the package that a dotted name lies in; None outside."""
    parts = name.split(".")
    return parts[1] if parts[0] == "dbp_tf" and len(parts) > 1 else None


def imported(path):
    """Dotted names of all imports of a module, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_imports_between_subpackages_run_one_way():
    imports = {}
    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "__init__.py":
            here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
            others = {part(name) for name in imported(path)} - {None, here, "__version__"}
            imports.setdefault(here, set()).update(others)
    assert {"raw", "models", "restore", "data", "training", "config"} < set(imports)
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
