"""The set-up: what make does, what requirements promise, what the notebook tools store."""

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import lab
import run_notebooks
import set_up
import stored

HERE = Path(__file__).resolve().parent.parent
needs_make = pytest.mark.skipif(
    shutil.which("make") is None, reason="there is no make on this machine"
)


# ---- make ----------------------------------------------------------------------------------------


def plan(*arguments):
    """What make would do."""
    ours = (
        "MAKEFLAGS",
        "MAKELEVEL",
        "MAKEOVERRIDES",
        "CONSTRAINTS",
        "PYTHON",
        "VENV",
        "ONLY",
        "TORCH",
        "GROUP",
        "INSTALLER",
    )
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        ["make", "--no-print-directory", "--dry-run", *arguments],
        cwd=HERE,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


@needs_make
@pytest.mark.parametrize(
    ("target", "group"),
    [
        ("lab", None),
        ("bank", None),
        ("test", "tests"),
        ("check", "tests"),
        ("notebooks", "tests"),
        ("case-study", "tests"),
        ("slides", "tests"),
        ("site", "tests"),
        ("bench", "tests"),
    ],
)
def test_everything_is_set_up_first(target, group):
    first, second = plan(target)
    assert first.split() == ["python3", "tools/set_up.py", "--venv", ".venv"] + [
        "--group",
        group,
    ] * bool(group)
    assert second.startswith(".venv/") and "set_up.py" not in second


@needs_make
def test_help_names_every_verb():
    ran = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=HERE, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    verbs = re.search(r"^\.PHONY: (.*)$", (HERE / "Makefile").read_text("utf-8"), re.MULTILINE)
    named = {line.split()[1] for line in ran.stdout.splitlines() if line.startswith("make ")}
    assert named == set(verbs[1].split()) - {"help", "setup", "setup-tests"}


@needs_make
def test_another_python_gets_an_environment_of_its_own():
    first, second = plan("test", "PYTHON=python3.12")
    assert first.startswith("python3.12 tools/set_up.py --venv .venv-python3.12")
    assert second.startswith(".venv-python3.12/")


@needs_make
def test_wishes_are_handed_on():
    assert plan("lab", "TORCH=cpu", "GROUP=core", "INSTALLER=pip")[0].split()[4:] == [
        "--torch",
        "cpu",
        "--installer",
        "pip",
        "--group",
        "core",
    ]
    assert (
        "--constraints tests/constraints.txt"
        in plan("test", "CONSTRAINTS=tests/constraints.txt")[0]
    )
    assert "run_notebooks.py 07" in plan("notebooks", "ONLY=07")[1]


@needs_make
def test_the_oldest_releases_get_an_environment_of_their_own():
    commands = [line for line in plan("test-oldest") if not line.startswith("make")]
    assert (
        "--venv .venv-oldest --constraints tests/constraints-oldest.txt --group tests"
        in " ".join(commands[0].split())
    )
    assert commands[1].startswith(".venv-oldest/")


# ---- requirements --------------------------------------------------------------------------------


CONSTRAINTS = ["tests/constraints.txt", "tests/constraints-oldest.txt"]
FILES = {
    "requirements.txt": ("core", "extra"),
    "requirements-site.txt": ("site",),
    "requirements-test.txt": ("tests",),
}


def requirements(name):
    lines = ((HERE / name).read_text(encoding="utf-8")).splitlines()
    lines = [line.split("#")[0].strip() for line in lines]
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


@functools.cache
def pins(name):
    return {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in requirements(name)
    }


@pytest.mark.parametrize("name", FILES)
def test_requirement_files_say_what_the_groups_say(name):
    groups = set_up.requirements()
    assert tuple(groups) == set_up.GROUPS
    assert list(map(str, requirements(name))) == [
        str(Requirement(line)) for group in FILES[name] for line in groups[group]
    ]


@pytest.mark.parametrize("name", FILES)
def test_requirements_are_ranges_that_hold_here_and_for_both_constraints(name):
    for requirement in requirements(name):
        package = canonicalize_name(requirement.name)
        operators = {each.operator for each in requirement.specifier}
        assert operators == {">=", "<"}, f"{package} needs both bounds"
        assert requirement.specifier.contains(version(package))
        for constraints in CONSTRAINTS:
            assert pins(constraints)[package] in requirement.specifier


def test_the_oldest_set_stands_on_the_lower_bounds():
    """Of what learners install: a bound that no test has seen is a promise that nobody keeps."""
    for requirement in requirements("requirements.txt"):
        [lowest] = [each.version for each in requirement.specifier if each.operator == ">="]
        pinned = pins("tests/constraints-oldest.txt")[canonicalize_name(requirement.name)]
        assert Version(pinned).release[:2] == (*Version(lowest).release, 0)[:2], requirement.name


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints_are_exact_and_for_every_system(name):
    for pin in requirements(name):
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), pin
        assert not re.match(r"nvidia|cuda|triton|course", pin.name), (
            f"{pin.name} is not on every system"
        )


# ---- JupyterLab ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "odd", ["nothing", "a proxy that leads nowhere", "a backend", "a temporary folder"]
)
def test_lab_without_a_browser_prints_a_loopback_address_with_a_token(tmp_path, odd):
    folder = tmp_path / "Kurs für Zoë (2)"
    folder.mkdir()
    nbformat.write(new_notebook(), folder / "empty.ipynb")
    ours = ("DISPLAY", "WAYLAND_DISPLAY", "JUPYTER_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    # What webbrowser makes of this is no browser, on any system.
    environment |= {
        "BROWSER": "no-such-browser",
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
    }
    if sys.platform.startswith("linux"):
        del environment["BROWSER"]
    far = tmp_path / f"vorläufig {'x' * 90}"
    far.mkdir()
    environment |= {
        "nothing": {},
        "a proxy that leads nowhere": {"http_proxy": "http://127.0.0.1:9"},
        "a backend": {"MPLBACKEND": "Agg"},
        "a temporary folder": {"TMPDIR": str(far)},
    }[odd]
    server = subprocess.Popen(
        [sys.executable, str(HERE / "tools" / "lab.py"), str(folder / "empty.ipynb")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    patience = threading.Timer(240, server.kill)  # ends the output, and so the loop
    patience.start()
    try:
        address = re.compile(r"http://(\S+?):\d+/lab/tree/empty\.ipynb\?token=[0-9a-f]{48}")
        found = next(filter(None, map(address.search, server.stdout)), None)
    finally:
        patience.cancel()
        server.terminate()
        server.communicate(timeout=120)
    assert found
    assert found.group(1) in ("127.0.0.1", "localhost")


def test_jupyterlab_asks_nothing_about_news_before_the_first_cell():
    from jupyterlab.commands import get_app_dir
    from jupyterlab_server.settings_utils import get_settings

    [given] = [each for each in lab.options(lab.START, True) if "app_settings_dir" in each]
    folder = given.partition("=")[2]
    name = "@jupyterlab/apputils-extension:notification"
    found, _ = get_settings(folder, str(Path(get_app_dir()) / "schemas"), "", schema_name=name)
    assert found["schema"]["properties"]["fetchNews"]["default"] == "false"


def test_kernels_inherit_neither_a_backend_nor_a_proxy_for_this_machine():
    quiet = {"MPLBACKEND": "Agg", "PATH": "x"}
    lab.prepare(quiet)
    assert quiet == {"PATH": "x"}  # without a proxy nothing is set
    for name in ("http_proxy", "HTTPS_PROXY", "all_proxy"):
        behind = {name: "http://127.0.0.1:9", "NO_PROXY": "campus.example"}
        lab.prepare(behind)
        assert behind["no_proxy"] == behind["NO_PROXY"] == "campus.example,localhost,127.0.0.1,::1"
        with pytest.MonkeyPatch.context() as patch:
            for key, value in behind.items():
                patch.setenv(key, value)
            assert urllib.request.proxy_bypass_environment("127.0.0.1:8888")
            assert not urllib.request.proxy_bypass_environment("example.org")


# ---- notebook tools ------------------------------------------------------------------------------


def outputs_kept(*outputs, **metadata):
    """The outputs that are kept of a cell's."""
    cell = new_code_cell("x", outputs=list(outputs), execution_count=7)
    notebook = new_notebook(cells=[new_code_cell("first"), cell], metadata=metadata)
    stored.normalise(notebook)
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    return notebook.cells[1].outputs


def save(notebook, path):
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Notebooks of its own, and claims and times of their own."""
    monkeypatch.setattr(run_notebooks, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(run_notebooks, "CLAIMS", tmp_path / "claims.json")
    monkeypatch.setattr(run_notebooks, "TIMES", tmp_path / "times.md")
    return tmp_path


def test_widgets_are_not_stored_but_what_stands_beside_them_is():
    widget = {stored.WIDGET: {"model_id": "1"}, "text/plain": "IntSlider(value=3)"}
    assert outputs_kept(new_output("display_data", widget)) == []
    [kept] = outputs_kept(
        new_output("execute_result", {**widget, "text/html": "<b>3</b>"}, execution_count=7)
    )
    assert kept.data == {"text/plain": "IntSlider(value=3)", "text/html": "<b>3</b>"}
    assert kept.execution_count == 2


def test_progress_bars_are_not_stored_but_warnings_are():
    bar = "  0%|          | 0/3 [00:00<?, ?it/s]\r100%|██████████| 3/3 [00:01<00:00,  3.00it/s]\n"
    assert outputs_kept(new_output("stream", name="stderr", text=bar)) == []
    [kept] = outputs_kept(new_output("stream", name="stderr", text=bar + "careful\n"))
    assert kept.text == "careful\n"
    [kept] = outputs_kept(new_output("stream", name="stdout", text="100% | done\n"))
    assert kept.text == "100% | done\n"


def test_streams_are_joined_and_passing_metadata_dropped():
    bar = new_output("stream", name="stderr", text="100%|███| 3/3 [00:01<00:00,  3.00it/s]\r")
    one, two = (new_output("stream", name="stdout", text=text) for text in "ab")
    [kept] = outputs_kept(one, bar, two, widgets={"state": {}})
    assert kept.text == "ab"
    cell = new_code_cell("x", metadata={"execution": {"iopub.status.busy": "now"}, "tags": ["lab"]})
    language = {"name": "python", "version": "3.11.7"}
    notebook = new_notebook(cells=[cell], metadata={"widgets": {}, "language_info": language})
    stored.normalise(notebook)
    assert cell.metadata == {"tags": ["lab"]}
    assert notebook.metadata.language_info == {"name": "python"}
    assert "widgets" not in notebook.metadata


def test_times_go_into_their_table_and_the_notebook_stays_as_it_was(folder):
    table = folder / "times.md"
    table.write_text(
        "# Times\n\n| a | b | c | d |\n|---|---|---|---|\n| **01** | | *all 9 s* | |\n"
        "| 01 | [2] | Old | 9 s |\n| **03** | | *all 4 s* | |\n",
        encoding="utf-8",
    )
    path = folder / "01_a.ipynb"
    cells = [
        new_markdown_cell("# A\n## Part | one"),
        new_code_cell("1"),
        new_code_cell("import time\ntime.sleep(1.2)"),
    ]
    save(new_notebook(cells=cells), path)
    before = path.read_bytes()
    assert run_notebooks.store_times(path) is None and path.read_bytes() == before
    rows = table.read_text(encoding="utf-8").splitlines()
    assert rows[:4] == ["# Times", "", "| a | b | c | d |", "|---|---|---|---|"] and len(rows) == 7
    assert re.fullmatch(
        r"\| \*\*01\*\* \| \| \*\*all cells\*\* \| \*\*\d+ s, \d+ MB\*\* \|", rows[4]
    )
    assert re.fullmatch(r"\| 01 \| \[2\] \| Part   one \| [1-9] s \|", rows[5])
    assert rows[6] == "| **03** | | *all 4 s* | |"


def test_a_notebook_is_run_and_stored_the_same_twice_and_left_alone_when_it_fails(folder, capsys):
    path = folder / "a.ipynb"
    cells = [
        new_code_cell("import os\nprint(sorted(n for n in os.listdir() if n.endswith('.ipynb')))"),
        new_code_cell("1 + 1", id="kept"),
    ]
    save(new_notebook(cells=cells), path)
    assert run_notebooks.store(path) is None
    first = path.read_bytes()
    assert run_notebooks.store(path) is None
    assert path.read_bytes() == first
    assert b"\r" not in first
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].outputs[0].text == "['a.ipynb']\n"  # it ran in its own folder
    kept = notebook.cells[1]
    assert (kept.id, kept.outputs[0].data["text/plain"]) == ("kept", "2")

    for source, complaint in [
        ("1 / 0", "ZeroDivisionError"),
        ("print('/' + 'home/ann')", "cell 1: .*/" + "home/ann"),
        ("print('x' * 600_000)", "500,000"),
    ]:
        notebook.cells[1].source = source
        save(notebook, path)
        before = path.read_bytes()
        assert re.search(complaint, run_notebooks.store(path))
        assert path.read_bytes() == before
    assert "a.ipynb" in capsys.readouterr().out
