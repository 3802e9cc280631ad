"""The architecture, enforced: who may import whom, which library is used where, what is never done."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "eqsnn"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A folder or module of the package may import only from itself and from what stands before it.
LAYERS = (
    "errors",
    "files",
    "language",
    "maths",
    "backends",
    "compiler",
    "simulation",
    "quantities",
    "formats",
    "losses",
    "inference",
    "analysis",
    "api",
    "exchange",
    "report",
    "__init__",
    "cli_uncertainty",
    "cli_data",
    "cli_export",
    "cli_report",
    "cli_model",
    "cli_fit",
    "cli",
    "__main__",
)
# Third-party libraries that must not spread, and where each may be used (paths inside the package).
FENCES = {
    "lark": ("language/parse.py",),
    "pint": ("language/units.py",),
    "sympy": ("language/", "maths/", "backends/"),
    "torch": (
        "backends/",
        "simulation/",
        "losses/",
        "inference/",
        "analysis/",
        "api.py",
        "report/",
        "cli.py",
    ),
    "sklearn": ("analysis/",),
    "matplotlib": ("report/",),
    "jinja2": ("report/",),
    "markupsafe": ("report/",),
    "rich": ("cli_fit.py", "cli_uncertainty.py"),
    # of optional libraries, loaded by eqsnn/formats/optional.py when a file asks for them
    "neo": (),
    "pynapple": (),
    "pynwb": (),
    "quantities": (),
    "ctypes": ("backends/",),
}
RUNS_STORED_CODE = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
DUMPING_GROUNDS = {"utils", "helpers", "misc", "common", "base", "manager"}
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
# compiles what the package itself has generated, never a user's text
GENERATED_SOURCE = "backends/pytorch.py"


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def layer(path: Path) -> str:
    return place(path).split("/")[0].removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported_modules(node: ast.AST) -> Iterator[str]:
    """Full names of what is imported anywhere below `node`; `from a import b` gives `a.b`."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: a relative import hides its layer"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)


def imported_layers(path: Path) -> set[str]:
    own = [
        name.split(".") for name in imported_modules(tree(path)) if name.split(".")[0] == "eqsnn"
    ]
    return {parts[1] if len(parts) > 1 and (parts[1] in LAYERS) else "__init__" for parts in own}


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))


def top_level_names(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_modules(tree(path))}


def test_every_module_has_a_layer_and_every_layer_a_module():
    assert {layer(path) for path in MODULES} == set(LAYERS)


def test_every_import_points_up_the_layers():
    wrong = [
        f"{place(path)} imports {other}"
        for path in MODULES
        for other in sorted(imported_layers(path))
        if LAYERS.index(other) > LAYERS.index(layer(path))
    ]
    assert not wrong


def test_a_fenced_library_stays_within_its_fence():
    wrong = [
        f"{place(path)} imports {library}"
        for path in MODULES
        for library in sorted(top_level_names(path) & FENCES.keys())
        if not place(path).startswith(FENCES[library])
    ]
    assert not wrong


def test_imports_stand_at_the_top_of_a_module():
    wrong = [
        f"{place(path)}:{node.lineno} imports {name} inside a function"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for name in imported_modules(node)
    ]
    assert not wrong


def test_annotations_are_not_postponed():
    postponed = [p for p in MODULES if "__future__.annotations" in imported_modules(tree(p))]
    assert not postponed


def test_nothing_read_from_a_file_can_run_code():
    wrong = [
        f"{place(path)} imports {library}"
        for path in MODULES
        for library in sorted(top_level_names(path) & RUNS_STORED_CODE)
    ]
    for path in MODULES:
        for call in calls(path):
            line = f"{place(path)}:{call.lineno}"
            if any(
                k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in call.keywords
            ):
                wrong.append(f"{line} allows pickles")
            if ast.unparse(call.func) in ("torch.load", "torch.save"):
                wrong.append(f"{line}: a torch file is a pickle")
    assert not wrong


def test_text_is_never_run_as_code():
    wrong = [
        f"{place(path)}:{call.lineno} calls {call.func.id}"
        for path in MODULES
        if place(path) != GENERATED_SOURCE
        for call in calls(path)
        if isinstance(call.func, ast.Name) and call.func.id in RUNS_TEXT
    ]
    assert not wrong


def test_no_module_is_a_dumping_ground():
    assert not [place(path) for path in MODULES if path.stem in DUMPING_GROUNDS]


def test_the_scan_sees_what_is_known_to_be_there():
    parser, units, pytorch = (
        PACKAGE / name for name in ("language/parse.py", "language/units.py", GENERATED_SOURCE)
    )
    assert "lark" in top_level_names(parser)
    assert "pint" in top_level_names(units)
    assert imported_layers(parser) >= {"errors", "language"}
    assert imported_layers(PACKAGE / "__main__.py") == {"cli"}
    assert any(isinstance(c.func, ast.Name) and c.func.id in RUNS_TEXT for c in calls(pytorch))
