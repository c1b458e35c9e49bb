"""The set-up for real, on a small course whose packages lie on an index on this machine."""

from __future__ import annotations

import ast
import base64
import hashlib
import http.server
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import psutil
import pytest

import installers
import set_up

HERE = Path(__file__).resolve().parent.parent
UV = shutil.which(
    "uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
)
BOTH = [
    "pip",
    pytest.param("uv", marks=pytest.mark.skipif(UV is None, reason="there is no uv here")),
]
needs_uv = pytest.mark.skipif(UV is None, reason="there is no uv here")
pytestmark = pytest.mark.slow
PYPROJECT = """
[project]
name = "course-utils"
version = "1"
dependencies = ["torch>=2", "torchvision", "words>=1"]
[project.optional-dependencies]
extra = ["tracker>=1,<2"]
site = []
tests = ["checker"]
"""
ORDINARY = {
    "torch": "2.14.1",
    "torchvision": "0.29.1",
    "nvidia-fake": "1.0",
    "words": "1.1",
    "tracker": "1.0",
}
PROCESSOR = ORDINARY | {"torch": "2.14.1+cpu", "torchvision": "0.29.1+cpu"}
del PROCESSOR["nvidia-fake"]


# ---- an index, and a course ----------------------------------------------------------------------


def wheel(name: str, version: str, requires: str = "") -> tuple[str, bytes]:
    """A package of one module that knows its version."""
    module, information = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    contents = {
        f"{module}.py": f"version = {version!r}\n",
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + needs,
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = f"{information}/RECORD,,\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
            digest = (
                base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
                .rstrip(b"=")
                .decode()
            )
            record += f"{path},sha256={digest},{len(text)}\n"
        archive.writestr(f"{information}/RECORD", record)
    return f"{module}-{version}-py3-none-any.whl", packed.getvalue()


PLAIN = [
    wheel("torch", "2.14.1", "nvidia-fake"),
    wheel("torchvision", "0.29.1", "torch"),
    wheel("nvidia-fake", "1.0"),
    wheel("words", "1.0"),
    wheel("words", "1.1"),
    wheel("tracker", "1.0"),
    wheel("checker", "3.0"),
]
SHELVES = {
    "plain": dict(PLAIN),
    "cpu": dict([wheel("torch", "2.14.1+cpu"), wheel("torchvision", "0.29.1+cpu", "torch")]),
    "newer": dict([wheel("torch", "2.15.0", "nvidia-fake"), wheel("torchvision", "0.30.0")]),
}


class Index(http.server.ThreadingHTTPServer):
    """/plain/ and /cpu/ list packages as an index does; what is asked for is noted in ``asked``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Shelf)
        self.asked: list[str] = []
        self.held = threading.Event()  # a wheel was asked for while `hold` was set: it never comes
        self.hold = False
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Shelf(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        shelf, _, name = self.path.strip("/").replace("%2B", "+").partition("/")
        files = SHELVES.get(shelf, {})
        if name in files:
            if self.server.hold:
                self.server.held.set()
                time.sleep(30)
            self.answer(files[name], "application/octet-stream")
            return
        module = name.replace("-", "_")
        links = [
            f'<a href="/{shelf}/{file.replace("+", "%2B")}">{file}</a>'
            for file in files
            if file.startswith(f"{module}-")
        ]
        if links:
            self.answer("\n".join(links).encode(), "text/html")
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def do_CONNECT(self) -> None:
        """What a proxy is asked for: it has no way to there."""
        self.server.asked.append(self.path)
        self.send_error(502)

    def answer(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def index():
    server = Index()
    yield server
    server.shutdown()
    server.server_close()


class Course:
    """A folder with a set-up of its own."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder, self.index = folder, index
        odd = folder.parent / f"vorläufig {'x' * 90}"
        odd.mkdir(exist_ok=True)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not re.match(r"(?i)pip_|uv_|virtual_env|.*_proxy$|python", name)
        }
        self.environment = kept | {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"{index.address}/plain/",
            "PIP_NO_CACHE_DIR": "1",
            "PIP_RETRIES": "0",
            "UV_DEFAULT_INDEX": f"{index.address}/plain/",
            "UV_NO_CONFIG": "1",
            "UV_CACHE_DIR": str(folder.parent / "cache"),
            "UV_HTTP_RETRIES": "0",
            "TMPDIR": str(odd),
            "PATH": os.pathsep.join([*([str(Path(UV).parent)] if UV else []), os.environ["PATH"]]),
        }

    def make(self) -> Course:
        (self.folder / "tools").mkdir(parents=True)
        (self.folder / "course_utils").mkdir()
        (self.folder / "course_utils" / "__init__.py").touch()
        for name in ("set_up.py", "installers.py"):
            shutil.copy(HERE / "tools" / name, self.folder / "tools")
        (self.folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
        return self

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.folder / "tools" / "set_up.py"), *arguments]

    def set_up(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """What a call prints."""
        call = subprocess.run(
            self.command(*arguments),
            env=self.environment | environment,
            encoding="utf-8",
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder.parent,
        )
        assert call.returncode == code, call.stdout
        return call.stdout

    def python(self, code: str) -> str:
        command = [str(installers.python_in(self.folder / ".venv")), "-I", "-c", code]
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            check=True,
            env=self.environment | {"PYTHONUTF8": "1"},
            cwd=self.folder.parent,
        ).stdout.strip()

    def packages(self) -> dict[str, str]:
        listed = self.python(
            "import json, importlib.metadata as m; "
            "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
        )
        return {
            name: version
            for name, version in json.loads(listed).items()
            if name not in ("pip", "setuptools", "wheel")
        }

    def imports_its_own(self) -> bool:
        where = self.python("import course_utils; print(ascii(course_utils.__file__))")
        return (
            Path(ast.literal_eval(where)).resolve()
            == (self.folder / "course_utils" / "__init__.py").resolve()
        )

    def files(self) -> set[str]:
        return {
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if not {".venv", "__pycache__"} & set(path.relative_to(self.folder).parts)
        }


@pytest.fixture
def course(tmp_path, index):
    """A new one, with nothing installed."""
    return Course(tmp_path / "Kurs für Zoë (2)", index).make()


@pytest.fixture(scope="module")
def shared(tmp_path_factory, index):
    """One that is set up, for tests that leave it as it was."""
    course = Course(tmp_path_factory.mktemp("shared") / "course", index).make()
    course.set_up("--installer", "pip")
    return course


@pytest.fixture
def filled(shared):
    yield shared
    assert shared.set_up() == "" and shared.packages() == ORDINARY


def edit_stamp(course: Course, **changes) -> None:
    path = course.folder / ".venv" / "set_up.json"
    stamp = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(stamp | changes), encoding="utf-8")


# ---- one call, and another -----------------------------------------------------------------------


@pytest.mark.parametrize("installer", BOTH)
def test_both_installers_make_the_same_and_a_second_call_does_nothing(course, index, installer):
    before = course.files()
    said = course.set_up("--installer", installer)
    assert re.search(rf"Set up in \d+ s by {installer}: \d+\.\d GB\.\n$", said)
    assert course.packages() == ORDINARY
    assert course.imports_its_own()
    assert course.files() == before  # so the course's folder may be read-only
    index.asked.clear()
    assert course.set_up() == "" and course.set_up("--torch", "default") == ""
    assert index.asked == []


def test_groups_and_constraints_are_noticed_and_kept(course):
    pins = course.folder / "pins.txt"
    pins.write_text("words==1.0\n", encoding="utf-8")
    course.set_up("--installer", "pip", "--group", "core", "--constraints", str(pins))
    core = {name: version for name, version in ORDINARY.items() if name != "tracker"} | {
        "words": "1.0"
    }
    assert course.packages() == core
    assert course.set_up() == ""  # as much as there is, as it is
    assert course.set_up("--constraints", str(pins)) == ""
    assert "bringing .venv up to date" in course.set_up("--installer", "pip", "--group", "tests")
    assert course.packages() == core | {"tracker": "1.0", "checker": "3.0"}
    assert course.set_up("--group", "core") == ""
    pins.write_text("words==1.1\n", encoding="utf-8")
    course.set_up("--installer", "pip", "--constraints", str(pins))
    assert course.packages()["words"] == "1.1"
    assert "no constraints file nothing.txt" in course.set_up(
        "--constraints", "nothing.txt", code=1
    )


@pytest.mark.parametrize(
    ("asked", "system_uv", "uv", "places", "name"),
    [
        ("auto", True, True, False, "uv"),
        ("auto", False, True, False, "uv"),
        ("auto", False, False, False, "pip"),
        ("auto", True, True, True, "uv"),
        ("auto", False, True, True, "pip"),  # settings that uv does not read
        ("uv", False, True, True, "uv"),
        ("uv", False, False, False, "pip"),
        ("pip", True, True, False, "pip"),
    ],
)
def test_uv_installs_where_it_can(monkeypatch, tmp_path, asked, system_uv, uv, places, name):
    monkeypatch.setattr(shutil, "which", lambda program: "uv" if system_uv else None)
    monkeypatch.setattr(
        installers, "uv_of", lambda venv: installers.Installer("uv", "", [], "") if uv else None
    )
    monkeypatch.setattr(installers, "pip_has_places_of_its_own", lambda venv: places)
    assert installers.choose(tmp_path, asked).name == name


def test_settings_of_pips_that_uv_does_not_read_are_seen(shared, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert not installers.pip_has_places_of_its_own(shared.folder / ".venv")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    assert installers.pip_has_places_of_its_own(shared.folder / ".venv")


@needs_uv
def test_pip_is_tried_where_uv_fails(filled):
    edit_stamp(filled, complete=False)
    packages = installers.packages_of(filled.folder / ".venv")
    (packages / "words-1.1.dist-info" / "INSTALLER").unlink()
    said = filled.set_up(UV_DEFAULT_INDEX=filled.index.address + "/nothing/")
    assert "uv could not do it: trying pip." in said and "by pip" in said


def test_an_old_python_is_told_so(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(
        SystemExit, match=r"needs Python 3\.11 or newer; this is 3\.10\. .* PYTHON=python3\.12"
    ):
        runpy.run_path(str(HERE / "tools" / "set_up.py"))


# ---- moved, interrupted, damaged -----------------------------------------------------------------


def test_moved_and_copied_courses_are_set_up_again_and_serve_without_a_network(
    shared, tmp_path, index
):
    copied = Course(tmp_path / "copy", index)
    shutil.copytree(shared.folder, copied.folder, symlinks=True)
    assert copied.imports_its_own()  # even before it is set up again

    said = copied.set_up("--installer", "pip", PIP_INDEX_URL=index.address + "/nothing/")
    assert "moved or copied" in said and "Until then .venv serves as it came along." in said
    assert copied.packages() == ORDINARY and copied.imports_its_own()

    assert "making .venv anew for here" in copied.set_up("--installer", "pip")
    assert copied.packages() == ORDINARY and copied.imports_its_own() and shared.imports_its_own()
    assert copied.set_up() == "" and shared.set_up() == ""
    activation = next((copied.folder / ".venv").glob("*/activate")).read_text(encoding="utf-8")
    assert str(copied.folder) in activation and str(shared.folder) not in activation
    assert not list(copied.folder.glob(".venv-*"))

    moved = Course(tmp_path / "Kurs für Zoë (2)", index)
    copied.folder.rename(moved.folder)
    assert "moved or copied" in moved.set_up("--installer", "pip")
    assert moved.packages() == ORDINARY and moved.imports_its_own()


@pytest.mark.parametrize("installer", BOTH)
def test_an_interrupted_set_up_goes_on(course, index, installer):
    index.hold = True
    index.held.clear()
    with subprocess.Popen(
        course.command("--installer", installer),
        env=course.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        reached = index.held.wait(120)
        for member in [*psutil.Process(process.pid).children(recursive=True), process]:
            member.kill()
    index.hold = False
    assert reached
    said = course.set_up("--installer", installer)
    assert "Going on with .venv." in said and "Set up in" in said
    assert course.packages() == ORDINARY and course.set_up() == ""


@pytest.mark.parametrize("installer", BOTH)
def test_what_an_interruption_left_half_installed_is_installed_again(filled, installer):
    packages = installers.packages_of(filled.folder / ".venv")
    (packages / "words.py").unlink()
    (packages / "words-1.1.dist-info" / "INSTALLER").unlink()
    edit_stamp(filled, complete=False)
    filled.set_up("--installer", installer)
    assert filled.python("import words; print(words.version)") == "1.1"


def test_a_damaged_stamp_is_written_anew(filled):
    (filled.folder / ".venv" / "set_up.json").write_text("{", encoding="utf-8")
    assert "Going on with" in filled.set_up("--installer", "pip")


def test_an_environment_whose_python_is_gone_is_made_anew(course):
    (course.folder / ".venv" / "bin").mkdir(parents=True)
    (course.folder / ".venv" / "set_up.json").write_text(
        json.dumps({"complete": True, "folder": str(course.folder), "python": "3.9", "groups": {}}),
        encoding="utf-8",
    )
    assert "Making .venv" in course.set_up("--installer", "pip")
    assert course.packages() == ORDINARY


def test_an_environment_of_another_python_than_it_was_filled_by_is_not_used(shared):
    venv = shared.folder / ".venv"
    assert set_up.is_usable(venv, {}) and not set_up.is_usable(venv, {"python": "3.9"})


def test_a_proxy_that_leads_nowhere_is_named_but_not_what_it_holds(filled):
    way = ("--installer", "pip", "--group", "tests")
    said = filled.set_up(*way, http_proxy="http://ann:secret@127.0.0.1:9", code=1)
    assert "A proxy is set, by http_proxy: is it the right one?" in said.splitlines()[-1]
    assert "secret" not in said.splitlines()[-1]
    filled.set_up("--installer", "pip")
    assert filled.packages() == ORDINARY | {"checker": "3.0"}
    filled.python(
        "import subprocess, sys; "
        "subprocess.run([sys.executable, '-m', 'pip', 'uninstall', '-yq', 'checker'], check=True)"
    )
    groups = {
        name: needed
        for name, needed in set_up.read_stamp(filled.folder / ".venv")["groups"].items()
        if name in ("core", "extra")
    }
    edit_stamp(filled, groups=groups)


# ---- builds of PyTorch ---------------------------------------------------------------------------


@pytest.mark.parametrize("installer", BOTH)
def test_the_processor_build_comes_from_the_index_that_is_named_and_stays(filled, index, installer):
    way, cpu = ("--installer", installer), f"{index.address}/cpu/"
    filled.set_up(*way, "--torch", cpu)
    assert filled.packages() == PROCESSOR
    assert filled.set_up() == "" and filled.set_up("--torch", cpu) == ""
    edit_stamp(filled, complete=False)
    filled.set_up(*way)
    assert filled.packages() == PROCESSOR
    filled.set_up(*way, "--torch", "default")


@pytest.mark.parametrize("installer", BOTH)
def test_a_newer_ordinary_build_on_another_index_of_this_machine_is_not_taken(
    filled, index, installer
):
    newer = f"{index.address}/newer/"
    places = {"PIP_EXTRA_INDEX_URL": newer, "UV_INDEX": newer}
    way = ("--installer", installer)
    filled.set_up(*way, "--torch", f"{index.address}/cpu/", **places)
    assert filled.packages() == PROCESSOR
    filled.set_up(*way, "--torch", "default")
    assert filled.packages() == ORDINARY


@pytest.mark.parametrize("installer", BOTH)
def test_an_index_without_the_build_is_said_and_the_ordinary_one_taken(filled, index, installer):
    said = filled.set_up("--installer", installer, "--torch", f"{index.address}/nothing/")
    assert "cannot be had here" in said and "Set up in" in said


@needs_uv
def test_uv_asks_pytorch_itself_for_a_build_by_name(filled, index):
    """Through a proxy that reaches nobody: it asks for that build, and the set-up does without."""
    index.asked.clear()
    environment = {"HTTPS_PROXY": index.address, "NO_PROXY": "127.0.0.1"}
    said = filled.set_up("--installer", "uv", "--torch", "cpu", **environment)
    assert [place for place in index.asked if re.fullmatch(r"[a-z.]*pytorch[a-z.]*:443", place)]
    assert "PyTorch's build 'cpu' cannot be had here" in said and "Set up in" in said


def test_pip_says_that_it_needs_the_address(filled):
    assert "TORCH=https://..." in filled.set_up("--installer", "pip", "--torch", "cpu")


@pytest.mark.parametrize(
    ("system", "driver", "advised"),
    [
        ("linux", False, True),
        ("linux", True, False),
        ("darwin", False, False),
        ("win32", False, False),
    ],
)
def test_linux_without_a_driver_is_told_of_the_processor_build(
    monkeypatch, capsys, system, driver, advised
):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(installers, "has_nvidia_driver", lambda: driver)
    installers.advise_on_torch()
    assert ("make lab TORCH=cpu" in capsys.readouterr().out) == advised


# ---- the package on its own ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder that a plain ``pip install .`` fills."""
    pytest.importorskip("setuptools", minversion="77")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name in ("course_utils", "data"):
        shutil.copytree(
            HERE / name,
            source / name,
            ignore=shutil.ignore_patterns("__pycache__", "MNIST", "cifar*.npz"),
        )
    for name in ("pyproject.toml", "setup.py", "LICENSE"):
        shutil.copy(HERE / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(target),
        str(source),
    ]
    subprocess.run(command, check=True, cwd=source)
    return target


def test_a_built_package_has_all_its_files(built):
    listed = subprocess.run(
        ["git", "ls-files", "-z", "course_utils", "data/*.npz", "data/*.json"],
        cwd=HERE,
        capture_output=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: there is no list of the files that belong to it")
    names = [name for name in listed.stdout.decode().split("\0") if name and (HERE / name).exists()]
    places = [f"course_utils/{name}" if name.startswith("data/") else name for name in names]
    assert not [place for place in places if not (built / place).is_file()]


def test_a_built_package_works_from_any_folder(built, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from course_utils import load_mnist, __file__ as place\n"
        "from course_utils.files import DATA_FOLDER\n"
        "assert place.startswith(sys.argv[1]), place\n"
        "print(len(load_mnist(subset=300, image_size=7).train.labels))\n"
        "print(DATA_FOLDER.relative_to(sys.argv[1]).as_posix())"
    )
    command = [sys.executable, "-I", "-c", code, str(built)]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split()[1] == "course_utils/data"
