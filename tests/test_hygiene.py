"""The house rules, held: what is stored in notebooks, who imports whom, what source text may contain."""

import ast
import functools
import graphlib
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from run_notebooks import LARGEST, MACHINE_PATH, NOTEBOOKS, WIDGET, find_notebooks, machine_paths, texts

HERE = Path(__file__).resolve().parent.parent
ALL_NOTEBOOKS = find_notebooks()
SLIDE_TYPES = {"slide", "subslide", "fragment", "skip", "notes", "-"}
# "raises-exception" is missing on purpose: an error is caught and shown, never left standing.
TAGS = {"nbval-check-output", "lab", "setup", "exercise", "solution", "claim", "predict", "static-figure", "hide-input"}
MOST_CODE_LINES = 30
FEWEST_CELLS, MOST_CELLS = 15, 60

# A module may import from lower floors, and from its own as long as there is no circle. A new module says here
# where it stands.
FLOORS = {
    "data": 0, "cifar": 0, "models": 0, "schedules": 0, "augment": 0, "glossary": 0,
    "config": 1, "history": 1,
    "training": 2,
    "diagnostics": 3, "evidence": 3, "bank": 3,
    "search": 4,
    "plots": 5,
    "labs": 6, "checks": 6, "progress": 6,
    "topics": 7,
}
# Large libraries, and who may know them.
KNOWN_BY = {
    "torchvision": {"data", "cifar"},
    "optuna": {"search", "bank", "topics"},
    "matplotlib": {"plots"},
    "ipywidgets": {"labs", "evidence", "checks", "topics"},
    "IPython": {"labs", "evidence", "checks", "progress", "topics"},
}

each_notebook = pytest.mark.parametrize("path", ALL_NOTEBOOKS, ids=lambda path: path.relative_to(NOTEBOOKS).as_posix())


@functools.cache
def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def code_cells(path: Path) -> list[tuple[int, nbformat.NotebookNode]]:
    """The code cells with their positions, counted from 0 over all cells."""
    return [(index, cell) for index, cell in enumerate(read(path).cells) if cell.cell_type == "code"]


# ---- notebooks ------------------------------------------------------------------------------------------------------


@each_notebook
def test_a_notebook_is_valid_and_small(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5), "cells have no ids: run make notebooks"
    assert notebook.metadata.get("kernelspec", {}).get("name") == "python3"
    assert path.stat().st_size <= LARGEST
    if path.parent == NOTEBOOKS:
        assert FEWEST_CELLS <= len(notebook.cells) <= MOST_CELLS


@each_notebook
def test_what_is_stored_was_run_from_top_to_bottom(path):
    cells = code_cells(path)
    assert not [index for index, cell in cells if not cell.source.strip()], "empty code cells"
    counts = [cell.execution_count for _, cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run make notebooks"
    for index, cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", f"cell {index} stores an error: {output.get('evalue')}"
            assert output.get("execution_count", cell.execution_count) == cell.execution_count


@each_notebook
def test_what_is_stored_means_the_same_everywhere(path):
    notebook = read(path)
    assert not machine_paths(notebook)
    assert "widgets" not in notebook.metadata, "stores the state of widgets: run make notebooks"
    for index, cell in code_cells(path):
        for output in cell.outputs:
            assert WIDGET not in output.get("data", {}), f"cell {index} stores a widget: run make notebooks"
        addresses = re.findall(r"<[^<>]* at 0x[0-9a-fA-F]{6,}>", "".join(texts(cell)))
        assert not addresses, f"cell {index} shows an object's address: {addresses[0]}"


@each_notebook
def test_cells_are_marked_for_slides_and_only_known_tags_are_used(path):
    for index, cell in enumerate(read(path).cells):
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        assert kind in SLIDE_TYPES, f"cell {index} has slide type {kind!r}"
        unknown = set(cell.metadata.get("tags", [])) - TAGS
        assert not unknown, f"cell {index} has unknown tags {unknown}"


@each_notebook
def test_code_cells_are_short(path):
    for index, cell in code_cells(path):
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
        assert len(lines) <= MOST_CODE_LINES, f"cell {index} has {len(lines)} lines of code"


@each_notebook
def test_a_notebooks_code_is_safe(path):
    for index, cell in code_cells(path):
        source = TransformerManager().transform_cell(cell.source)          # magics become calls
        assert not unsafe(ast.parse(source)), f"cell {index}"


def test_the_readme_lists_every_notebook():
    readme = HERE / "README.md"
    assert readme.is_file(), "README.md is missing"
    text = readme.read_text(encoding="utf-8")
    missing = [path.name for path in ALL_NOTEBOOKS if path.parent == NOTEBOOKS and path.name not in text]
    assert not missing


# ---- the package ----------------------------------------------------------------------------------------------------

PACKAGE = HERE / "course_utils"


def module_name(path: Path) -> str:
    """ "models", "topics.t00"; the package's own name for __init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """All modules that a module of the package imports, wherever in its text, with absolute names."""
    package = ["course_utils", *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # "from . import data" names modules, "from .data import Split" names what is in one.
            inside = {f"{base}.{alias.name}" for alias in node.names}
            modules = {name for name in inside if name.removeprefix("course_utils.") in MODULES}
            found |= modules or {base}
    return found


def imports_inside(path: Path) -> set[str]:
    return {name.removeprefix("course_utils.") for name in imports(path) if name.split(".")[0] == "course_utils"}


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_imports_point_down_only(name):
    floor = name.split(".")[0]
    assert floor in FLOORS, f"{name} is new: say in FLOORS where it stands"
    for other in imports_inside(MODULES[name]):
        assert other != "course_utils", f"{name} imports the whole package; name the module"
        assert FLOORS[other.split(".")[0]] <= FLOORS[floor], f"{name} imports {other}, which stands above it"


def test_no_module_imports_itself_in_a_circle():
    inside = {name: imports_inside(path) for name, path in MODULES.items() if name}
    list(graphlib.TopologicalSorter(inside).static_order())                # raises CycleError, with the circle


@pytest.mark.parametrize("name", MODULES)
def test_large_libraries_are_known_by_few(name):
    used = {other.split(".")[0] for other in imports(MODULES[name])}
    for library, known_by in KNOWN_BY.items():
        assert library not in used or name.split(".")[0] in known_by, f"{name} imports {library}"


# ---- source text ----------------------------------------------------------------------------------------------------


@functools.cache
def files() -> tuple[Path, ...]:
    """What git tracks, or would on the next `git add`."""
    if not shutil.which("git") or not (HERE / ".git").exists():
        pytest.skip("not a git checkout: there is no list of the files that belong to it")
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=HERE,
                            capture_output=True, check=True).stdout.decode().split("\0")
    return tuple(HERE / name for name in sorted(set(listed)) if name and (HERE / name).is_file())


def name_of(node: ast.AST) -> str:
    """The dotted name of an expression: "torch.load", or "?.load" where it is not a name's."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def unsafe(tree: ast.AST) -> list[str]:
    """What runs foreign code when it is given a foreign file, or depends on one system only."""
    found = []
    for node in ast.walk(tree):
        where = f"line {getattr(node, 'lineno', 0)}: "
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"{where}imports {name}" for name in names
                      if name.split(".")[0] in {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}]
            found += [f"{where}imports *" for alias in node.names if alias.name == "*"]
        if not isinstance(node, ast.Call):
            continue
        name, given = name_of(node.func), {keyword.arg: keyword.value for keyword in node.keywords}

        def is_set(argument, value, given=given):
            return isinstance(given.get(argument), ast.Constant) and given[argument].value is value

        if name == "torch.load" and not is_set("weights_only", True):
            found.append(f"{where}torch.load without weights_only=True")
        if name in ("np.load", "numpy.load") and not is_set("allow_pickle", False):
            found.append(f"{where}{name} without allow_pickle=False")
        if name.endswith("read_pickle") or is_set("allow_pickle", True):
            found.append(f"{where}unpickles")
        if "shell" in given and not is_set("shell", False):
            found.append(f"{where}{name} with shell=")
        if any(isinstance(value, ast.Constant) and value.value == "fork" for value in [*node.args, *given.values()]):
            found.append(f"{where}starts processes by forking, which Windows cannot and threads do not survive")
        if name in ("os.system", "os.fork", "os.popen", "eval", "exec"):
            found.append(f"{where}{name}")
    return found


def test_python_files_are_safe():
    found = {}
    for path in files():
        if path.suffix == ".py":
            text = path.read_text(encoding="utf-8")
            if problems := unsafe(ast.parse(text)) + [match.group() for match in MACHINE_PATH.finditer(text)]:
                found[path.relative_to(HERE).as_posix()] = problems
    assert not found


@pytest.mark.parametrize("source", [
    "import pickle", "from joblib import load", "from torch import *", "torch.load('a')",
    "torch.load('a', weights_only=False)", "np.load('a')", "np.load('a', allow_pickle=True)", "pd.read_pickle('a')",
    "subprocess.run('a', shell=True)", "os.fork()", "get_context('fork')", "set_start_method(method='fork')",
    "eval('1')",
])
def test_what_is_unsafe_is_found(source):
    assert unsafe(ast.parse(source))


@pytest.mark.parametrize("source", [
    "torch.load('a', weights_only=True)", "np.load('a', allow_pickle=False)", "model.eval()", "copy(model).eval()",
    "subprocess.run(['a'], shell=False)", "get_context('spawn')", "from torch import nn",
])
def test_what_is_safe_is_left_alone(source):
    assert not unsafe(ast.parse(source))


@pytest.mark.parametrize(("text", "found"), [
    *((text, True) for text in ("/" + "root/x", "see '/" + "home/ann'", "/" + "tmp", "C:" + r"\Users\ann",
                                "File \"/" + "work/main/a.py\"", "file:" + "///Users/ann")),
    *((text, False) for text in ("data/tmp/x", "https://example.org/home/x", "../tmp", "and/home", "a/workshop",
                                 "/workshop")),
])
def test_a_machines_folder_is_recognised(text, found):
    assert bool(MACHINE_PATH.search(text)) == found


BINARY = {".npz", ".png", ".woff2", ".ico"}
# Written so that this file does not match itself.
REGISTRIES = re.compile(r"pypi[.]org|files[.]pythonhosted[.]org|download[.]pytorch[.]org|registry[.]npmjs|"
                        r"anaconda[.]org|deb[.]debian[.]org|extra-index[-]url|--find[-]links|(?<!extra)-index[-]url")
TOKENS = re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}|\bpypi-[A-Za-z0-9_-]{50,}|"
                    r"\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{30,}|\bxox[abpr]-[A-Za-z0-9-]{10,}|"
                    r"\bAKIA[0-9A-Z]{16}\b|BEGIN [A-Z ]*PRIVATE KEY")


def test_text_files_are_plain_and_name_no_registry_and_no_secret():
    found = {}
    for path in files():
        if path.suffix in BINARY:
            continue
        data = path.read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            found[path.name] = "is not UTF-8"
            continue
        if b"\r" in data:
            found[path.name] = "has line ends other than LF"
        elif data and not data.endswith(b"\n"):
            found[path.name] = "does not end with a line end"
        elif match := REGISTRIES.search(text) or TOKENS.search(text):
            found[path.name] = f"contains {match.group()[:16]}"
    assert not found


def test_stored_files_are_named_alike_on_every_system():
    names = sorted(path.relative_to(HERE).as_posix() for path in files())
    twins = [pair for pair in itertools.combinations(names, 2) if pair[0].lower() == pair[1].lower()]
    assert not twins
    assert not [name for name in names if re.search(r'[<>:"|?*\\]|\.$', name)]


def test_lint():
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", "."]
    result = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
