"""The house rules, held: what is stored in notebooks, who imports whom, what source text may contain."""

import ast
import functools
import graphlib
import itertools
import re
import shutil
import subprocess
import symtable
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from IPython.core.inputtransformer2 import TransformerManager

from run_notebooks import LARGEST
from stored import (
    MACHINE_PATH,
    NOTEBOOKS,
    QUESTION,
    WIDGET,
    find_notebooks,
    machine_paths,
    tags,
    texts,
    unsolved,
)

HERE = Path(__file__).resolve().parent.parent
ALL_NOTEBOOKS = find_notebooks()
LESSONS = [path for path in ALL_NOTEBOOKS if path.parent == NOTEBOOKS]
SOLUTIONS = [path for path in ALL_NOTEBOOKS if path.parent != NOTEBOOKS]
SLIDE_TYPES = {"slide", "subslide", "fragment", "skip", "notes", "-"}
# "raises-exception" is missing on purpose: an error is caught and shown, never left standing.
TAGS = {"lab", "setup", "exercise", "solution", "claim", "predict", "show-code", "hide-input"}
MOST_CODE_LINES, WIDEST_CODE = 15, 100
FEWEST_CELLS, MOST_CELLS, MOST_WORDS = 15, 45, 2300
# The course opens and closes with an overview each, which needs a few cells more.
MORE_CELLS = {"00_start_here": 50}

# A module may import from lower floors, and from its own as long as there is no circle. A new module says here
# where it stands. The lessons stand on everything, and on nothing of each other.
FLOORS = {
    "files": 0,
    "errors": 0,
    "optional": 0,
    "threads": 0,
    "randomness": 0,
    "refusals": 1,
    "stacking": 1,
    "engine": 2,
    "mnist": 3,
    "cnn": 3,
    "diagnostics": 3,
    "estimates": 3,
    "grids": 3,
    "evidence": 3,
    "bank": 3,
    "search": 3,
    "servers": 3,
    "claims": 4,
    "protocol": 4,
    "replay": 4,
    "races": 4,
    "choices": 4,
    "plots": 5,
    "classroom": 6,
    "lessons": 7,
}
# Large libraries, and who may know them.
KNOWN_BY = {
    "torchvision": {"mnist", "lessons"},
    "optuna": {"search", "bank", "replay", "races", "choices", "lessons"},
    "matplotlib": {"plots", "classroom", "lessons"},
    "ipywidgets": {"classroom", "lessons"},
    "anywidget": {"classroom"},
    "IPython": {"classroom", "lessons"},
}
MATPLOTLIB_FILES = re.compile(
    r"lessons/\w+/(figures|labs|machine|[a-z_]*figures)\.py$|classroom/|plots/"
)
MOST_LINES, MOST_FUNCTION_LINES, ENGINE_LINES = 250, 40, 1600

each_notebook = pytest.mark.parametrize(
    "path", ALL_NOTEBOOKS, ids=lambda path: path.relative_to(NOTEBOOKS).as_posix()
)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
each_solution = pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)


@functools.cache
def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def code_cells(path: Path) -> list[tuple[int, nbformat.NotebookNode]]:
    """The code cells with their positions, counted from 0 over all cells."""
    return [
        (index, cell) for index, cell in enumerate(read(path).cells) if cell.cell_type == "code"
    ]


# ---- notebooks ------------------------------------------------------------------------------------------------------


@each_notebook
def test_a_notebook_is_valid_and_small(path, record_property):
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5), (
        "cells have no ids: run make notebooks"
    )
    assert notebook.metadata.get("kernelspec", {}).get("name") == "python3"
    assert path.stat().st_size <= LARGEST
    if path in LESSONS:
        words = sum(
            len(re.findall(r"\w+", cell.source))
            for cell in notebook.cells
            if cell.cell_type == "markdown"
        )
        longest = max(len(code_lines(cell.source)) for _, cell in code_cells(path))
        widest = max(len(line) for _, cell in code_cells(path) for line in cell.source.splitlines())
        record_property(
            "size",
            f"{path.stem}: {len(notebook.cells)} cells, {words} words, longest cell {longest} lines, "
            f"longest line {widest} characters",
        )
        assert FEWEST_CELLS <= len(notebook.cells) <= MORE_CELLS.get(path.stem, MOST_CELLS)
        assert words <= MOST_WORDS


def code_lines(source: str) -> list[str]:
    return [
        line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")
    ]


@each_notebook
def test_what_is_stored_was_run_from_top_to_bottom(path):
    cells = code_cells(path)
    assert not [index for index, cell in cells if not cell.source.strip()], "empty code cells"
    counts = [cell.execution_count for _, cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run make notebooks"
    for index, cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", (
                f"cell {index} stores an error: {output.get('evalue')}"
            )
            assert output.get("execution_count", cell.execution_count) == cell.execution_count


@each_notebook
def test_what_is_stored_means_the_same_everywhere(path):
    notebook = read(path)
    assert not machine_paths(notebook)
    assert "widgets" not in notebook.metadata, "stores the state of widgets: run make notebooks"
    for index, cell in code_cells(path):
        for output in cell.outputs:
            assert WIDGET not in output.get("data", {}), (
                f"cell {index} stores a widget: run make notebooks"
            )
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
def test_a_learner_can_read_a_cell_at_a_glance(path):
    for index, cell in code_cells(path):
        lines = code_lines(cell.source)
        assert len(lines) <= MOST_CODE_LINES or "setup" in tags(cell), (
            f"cell {index} has {len(lines)} lines of code"
        )
        wide = [line for line in cell.source.splitlines() if len(line) > WIDEST_CODE]
        assert not wide, f"cell {index}: {len(wide[0])} characters: {wide[0]}"


def bound_and_read(source: str) -> tuple[set[str], set[str]]:
    """(names that a cell binds for other cells, names that it reads from them)."""
    top = symtable.symtable(TransformerManager().transform_cell(source), "cell", "exec")
    bound = {
        each.get_name()
        for each in top.get_symbols()
        if each.is_assigned() or each.is_imported() or each.is_namespace()
    }
    read, tables = (
        {each.get_name() for each in top.get_symbols() if each.is_referenced()},
        top.get_children(),
    )
    while tables:
        table = tables.pop()
        read |= {each.get_name() for each in table.get_symbols() if each.is_global()}
        tables += table.get_children()
    return bound, read


@each_lesson
def test_an_experiment_can_be_run_again_after_all_others(path):
    """What a cell reads from earlier cells is bound by no later one: going back, it finds what it found."""
    cells = [(index, *bound_and_read(cell.source)) for index, cell in code_cells(path)]
    problems = []
    for place, (index, bound, read_here) in enumerate(cells):
        earlier = set().union(*(names for _, names, _ in cells[:place]))
        for later, names, _ in cells[place + 1 :]:
            for name in (read_here & earlier - bound) & names:
                problems.append(f"cell {index} reads {name}, which cell {later} binds again")
    assert not problems


CHANGING = {
    *("append", "extend", "update", "pop", "popitem", "insert", "remove", "clear", "sort", "add"),
    *("reverse", "setdefault", "discard", "load_state_dict", "requires_grad_"),
}


def changed_in_place(source: str) -> set[str]:
    """Names whose objects a cell changes, outside of functions: by an item, an attribute, a method
    or an operator."""
    found, nodes = set(), [ast.parse(TransformerManager().transform_cell(source))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        nodes += ast.iter_child_nodes(node)
        whole: ast.AST | None = None
        if isinstance(node, ast.AugAssign):
            whole = node.target
        elif isinstance(node, (ast.Subscript, ast.Attribute)):
            whole = None if isinstance(node.ctx, ast.Load) else node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            changes = name in CHANGING or (name.endswith("_") and not name.endswith("__"))
            whole = node.func.value if changes else None
        while isinstance(whole, (ast.Subscript, ast.Attribute)):
            whole = whole.value
        if isinstance(whole, ast.Name):
            found.add(whole.id)
    return found


@each_lesson
def test_what_an_earlier_cell_made_is_changed_by_no_later_one(path):
    """Run again, a cell that appends to another cell's list would append once more."""
    made: set[str] = set()
    for index, cell in code_cells(path):
        bound, _ = bound_and_read(cell.source)
        assert not changed_in_place(cell.source) & made - bound, f"cell {index}"
        made |= bound


def test_changes_in_place_are_found():
    for source in ("a[0] = 1", "a.b = 1", "a += 1", "a.append(1)", "a[0].c.zero_()", "del a[0]"):
        assert changed_in_place(source) == {"a"}, source
    for source in ("b = a[0] + a.c; print(a.sum(), a.__len__())", "def f(a):\n    a.append(1)"):
        assert not changed_in_place(source), source


@each_lesson
def test_questions_have_names_and_ids_of_their_own_and_their_answers_are_folded(path):
    questions, ids = [], []
    for index, cell in code_cells(path):
        names = QUESTION.findall(cell.source)
        assert bool(names) == ("predict" in tags(cell)), (
            f"cell {index}: a question is tagged predict, and nothing else is"
        )
        questions += names
        ids += re.findall(r"""\bid=["']([^"']+)["']""", cell.source) if names else []
    assert len(set(questions)) == len(questions) == len(ids) == len(set(ids))
    assert all(each.startswith(f"{path.name[:2]}.") for each in ids)
    open_questions = set()
    for index, cell in code_cells(path):
        if open_questions and cell.outputs:
            assert cell.metadata.get("jupyter", {}).get("outputs_hidden"), (
                f"cell {index} gives an answer away: run make notebooks"
            )
        open_questions -= {name for name in open_questions if f"{name}.compare(" in cell.source}
        open_questions |= set(QUESTION.findall(cell.source))
    assert not open_questions, f"never compared: {open_questions}"


@each_lesson
def test_nobody_is_scolded_and_devices_are_not_mixed(path):
    for index, cell in enumerate(read(path).cells):
        told = "".join(texts(cell))
        assert "You made no guess" not in told and "next time" not in told, f"cell {index}"
        if cell.cell_type == "code" and "load_mnist(" in cell.source:
            assert "device=" not in cell.source, (
                f"cell {index}: the data choose their device themselves"
            )


@each_solution
def test_a_stored_solution_passes(path):
    assert not unsolved(read(path))


@each_lesson
def test_no_starter_passes(path):
    for index, cell in code_cells(path):
        if "exercise" in tags(cell):
            assert "✔ passed" not in "".join(texts(cell)[1:]), f"cell {index}: the starter passes"


@each_notebook
def test_a_notebooks_code_is_safe(path):
    for index, cell in code_cells(path):
        source = TransformerManager().transform_cell(cell.source)  # magics become calls
        assert not unsafe(ast.parse(source)), f"cell {index}"


def test_the_readme_lists_every_notebook():
    text = (HERE / "README.md").read_text(encoding="utf-8")
    assert not [path.stem for path in LESSONS if path.stem not in text]


# ---- the package ----------------------------------------------------------------------------------------------------

PACKAGE = HERE / "course_utils"


def module_name(path: Path) -> str:
    """ "mnist", "engine.config"; the package's own name for __init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """All modules that a module of the package imports, wherever in its text, with absolute names.

    But not those that only a type checker sees: at run time they make no circle.
    """
    package = ["course_utils", *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and name_of(node.test) == "TYPE_CHECKING")
    ]
    for node in ast.walk(tree):
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
    return {
        name.removeprefix("course_utils.")
        for name in imports(path)
        if name.split(".")[0] == "course_utils"
    }


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_imports_point_down_only(name):
    floor = name.split(".")[0]
    assert floor in FLOORS, f"{name} is new: say in FLOORS where it stands"
    for other in imports_inside(MODULES[name]):
        assert other != "course_utils", f"{name} imports the whole package; name the module"
        assert FLOORS[other.split(".")[0]] <= FLOORS[floor], (
            f"{name} imports {other}, which stands above it"
        )


def test_no_module_imports_itself_in_a_circle():
    inside = {name: imports_inside(path) for name, path in MODULES.items() if name}
    list(graphlib.TopologicalSorter(inside).static_order())  # raises CycleError, with the circle


@pytest.mark.parametrize("name", MODULES)
def test_large_libraries_are_known_by_few(name):
    used = {other.split(".")[0] for other in imports(MODULES[name])}
    for library, known_by in KNOWN_BY.items():
        assert library not in used or name.split(".")[0] in known_by, f"{name} imports {library}"
    if "matplotlib" in used:
        assert MATPLOTLIB_FILES.search(MODULES[name].as_posix()), (
            f"{name} draws: that is for figures and labs"
        )


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("lessons.")])
def test_no_lesson_knows_another(name):
    own = name.split(".")[1]
    others = {other for other in imports_inside(MODULES[name]) if other.startswith("lessons.")}
    assert not {other for other in others if other.split(".")[1:2] not in ([own], [])}, (
        f"{name} imports {others}"
    )
    assert not re.search(r"(^|[._])\d", name), "no number begins a module's name"


@each_lesson
def test_a_notebook_imports_from_the_core_and_from_its_own_lesson(path):
    """And by the tag of a cell a reader knows the file: labs, exercises; plot_ is in figures or in plots."""
    stem, named = path.stem[3:], {}
    for index, cell in code_cells(path):
        for node in ast.walk(ast.parse(TransformerManager().transform_cell(cell.source))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "course_utils.lessons"
            ):
                assert node.module.split(".")[2] == stem, f"cell {index} imports {node.module}"
                for alias in node.names:
                    named[alias.asname or alias.name] = ".".join(
                        [*node.module.split(".")[3:], alias.name]
                    )
    for index, cell in code_cells(path):
        for node in ast.walk(ast.parse(TransformerManager().transform_cell(cell.source))):
            if isinstance(node, ast.Call) and name_of(node.func).split(".")[0] in named:
                called = (
                    named[name_of(node.func).split(".")[0]]
                    + "."
                    + name_of(node.func).partition(".")[2]
                )
                last = called.rstrip(".").split(".")[-1]
                assert (
                    not last.startswith("check_")
                    or "exercises." in called
                    or last == "check_machine"
                ), f"cell {index}: {called}"
                assert not last.startswith("plot_") or "figures." in called, (
                    f"cell {index}: {called}"
                )
                assert not last.endswith("_lab") or "labs." in called, f"cell {index}: {called}"
    package = PACKAGE / "lessons" / stem
    if package.is_dir():
        assert path.name in (package / "__init__.py").read_text(encoding="utf-8"), (
            f"{stem}/__init__.py names its notebook"
        )


# What belongs to the whole process, and so to the cell that runs while a lab draws in its thread.
PROCESS_WIDE = re.compile(
    r"rc_context|rcParams|style\.use|matplotlib\.use|warnings\.|fork_rng|torch\.manual_seed|"
    r"np\.random\.(seed|rand|normal|choice|shuffle)|(?<![\w.])random\.\w+\(|set_num_threads|"
    r"set_default_|environ\[|chdir|set_verbosity|set_option|setlocale|set_printoptions"
)


@pytest.mark.parametrize(
    "name",
    [name for name in MODULES if "lab" in name or "figures" in name or "classroom" in name],
)
def test_labs_touch_no_state_of_the_whole_process(name):
    found = [
        line
        for line in MODULES[name].read_text(encoding="utf-8").splitlines()
        if PROCESS_WIDE.search(line) and "warnings.warn(" not in line
    ]
    assert not found, f"{name}: a cell may run meanwhile; for random draws, take Chance"


def test_random_draws_are_lent_out_by_one_room():
    """`fork_rng` in one thread would undo what another thread has put into torch's generator."""
    assert not [
        name for name, path in MODULES.items() if "fork_rng" in path.read_text(encoding="utf-8")
    ]


def test_modules_and_functions_are_short(record_property):
    long_ones, lines = [], {}
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        lines[name] = len(text.splitlines())
        if lines[name] > MOST_LINES:
            long_ones.append(f"{name}: {lines[name]} lines")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            size = node.end_lineno - node.lineno + 1
            docstring = ast.get_docstring(node, clean=False) or ""
            if size - len(docstring.splitlines()) > MOST_FUNCTION_LINES:
                long_ones.append(f"{name}.{node.name}: {size} lines")
    engine = sum(count for name, count in lines.items() if name.startswith("engine"))
    core = sum(count for name, count in lines.items() if not name.startswith("lessons"))
    record_property(
        "size",
        f"engine: {engine} lines; core without lessons: {core}; all of it: {sum(lines.values())}",
    )
    assert not long_ones
    assert engine <= ENGINE_LINES


# ---- source text ----------------------------------------------------------------------------------------------------


@functools.cache
def files() -> tuple[Path, ...]:
    """What git tracks, or would on the next `git add`."""
    if not shutil.which("git") or not (HERE / ".git").exists():
        pytest.skip("not a git checkout: there is no list of the files that belong to it")
    listed = (
        subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=HERE,
            capture_output=True,
            check=True,
        )
        .stdout.decode()
        .split("\0")
    )
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
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
            found += [
                f"{where}imports {name}"
                for name in names
                if name.split(".")[0]
                in {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
            ]
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
        if any(
            isinstance(value, ast.Constant) and value.value == "fork"
            for value in [*node.args, *given.values()]
        ):
            found.append(
                f"{where}starts processes by forking, which Windows cannot and threads do not survive"
            )
        if name in ("os.system", "os.fork", "os.popen", "eval", "exec"):
            found.append(f"{where}{name}")
    return found


def test_python_files_are_safe():
    found = {}
    for path in files():
        if path.suffix == ".py":
            text = path.read_text(encoding="utf-8")
            if problems := unsafe(ast.parse(text)) + [
                match.group() for match in MACHINE_PATH.finditer(text)
            ]:
                found[path.relative_to(HERE).as_posix()] = problems
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "from torch import *",
        "torch.load('a')",
        "torch.load('a', weights_only=False)",
        "np.load('a')",
        "np.load('a', allow_pickle=True)",
        "pd.read_pickle('a')",
        "subprocess.run('a', shell=True)",
        "os.fork()",
        "get_context('fork')",
        "set_start_method(method='fork')",
        "eval('1')",
    ],
)
def test_what_is_unsafe_is_found(source):
    assert unsafe(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "torch.load('a', weights_only=True)",
        "np.load('a', allow_pickle=False)",
        "model.eval()",
        "copy(model).eval()",
        "subprocess.run(['a'], shell=False)",
        "get_context('spawn')",
        "from torch import nn",
    ],
)
def test_what_is_safe_is_left_alone(source):
    assert not unsafe(ast.parse(source))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        *(
            (text, True)
            for text in (
                "/" + "root/x",
                "see '/" + "home/ann'",
                "/" + "tmp",
                "C:" + r"\Users\ann",
                'File "/' + 'work/main/a.py"',
                "file:" + "///Users/ann",
            )
        ),
        *(
            (text, False)
            for text in (
                "data/tmp/x",
                "https://example.org/home/x",
                "../tmp",
                "and/home",
                "a/workshop",
                "/workshop",
            )
        ),
    ],
)
def test_a_machines_folder_is_recognised(text, found):
    assert bool(MACHINE_PATH.search(text)) == found


BINARY = {".npz", ".png", ".gif", ".woff2", ".ico"}
# Written so that this file does not match itself.
REGISTRIES = re.compile(
    r"pypi[.]org|files[.]pythonhosted[.]org|download[.]pytorch[.]org|registry[.]npmjs|"
    r"anaconda[.]org|deb[.]debian[.]org|extra-index[-]url|--find[-]links|(?<!extra)-index[-]url"
)
TOKENS = re.compile(
    r"\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}|\bpypi-[A-Za-z0-9_-]{50,}|"
    r"\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{30,}|\bxox[abpr]-[A-Za-z0-9-]{10,}|"
    r"\bAKIA[0-9A-Z]{16}\b|BEGIN [A-Z ]*PRIVATE KEY"
)


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
    twins = [
        pair for pair in itertools.combinations(names, 2) if pair[0].lower() == pair[1].lower()
    ]
    assert not twins
    assert not [name for name in names if re.search(r'[<>:"|?*\\]|\.$', name)]


@pytest.mark.parametrize(
    "command",
    [["check", "--output-format=concise"], ["format", "--check"]],
    ids=["check", "format"],
)
def test_ruff(command):
    result = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
        cwd=HERE,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_types():
    """The package and the tools, by mypy; the lessons are free of it."""
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("older libraries say less of their types, or say it otherwise")
    found = subprocess.run([sys.executable, "-m", "mypy"], cwd=HERE, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
