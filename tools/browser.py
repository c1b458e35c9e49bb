"""A real JupyterLab, and a real browser that drives it. The tests' way to look at a lab.

    def test_something(jupyterlab):
        page = jupyterlab.open_notebook("00_start_here.ipynb")
        page.run_all()
        lab = page.labs()[0]

The server works on a copy of the notebooks, with settings of its own: neither the checkout nor what
the user has set in their own JupyterLab is touched, and neither influences a test.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import pytest

from headless import (
    BROWSERS,
    Problem,
    axe_script,
    axe_violations,
    browse,
    find_browser,
    is_root,
    wait_until,
)
from jupyter_page import KERNEL_SECONDS, READY, Notebook
from lab_page import KNOWN, Lab

__all__ = [
    "BROWSERS",
    "JupyterLab",
    "KNOWN",
    "Lab",
    "Notebook",
    "Problem",
    "axe_script",
    "axe_violations",
    "browse",
    "find_browser",
    "jupyterlab",
    "serve",
    "wait_until",
]
HERE = Path(__file__).resolve().parent.parent
START_SECONDS = 60

SETTINGS = {
    # By default only the cells in view exist in the page: a lab further down could not be found.
    "notebook-extension/tracker": {"windowingMode": "none"},
    # No dialogue about news, no call for updates.
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


class JupyterLab:
    """A running server with its folder, and one browser page on it."""

    def __init__(self, address: str, token: str, folder: Path, page):
        self.address, self.token, self.folder, self.page = address, token, folder, page
        self.notebooks = folder / "notebooks"
        self._open: str | None = None

    def write_notebook(self, path: str, cells: list[nbformat.NotebookNode]) -> None:
        """A notebook of the test's own, below notebooks/."""
        metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        }
        nbformat.write(
            nbformat.v4.new_notebook(cells=cells, metadata=metadata), self.notebooks / path
        )

    def open_notebook(
        self,
        path: str,
        cells_to_keep: Callable[[nbformat.NotebookNode], bool] | None = None,
        keep_outputs: bool = False,
    ) -> Notebook:
        """Open ``path`` (below notebooks/) and wait for its kernel.

        It opens as the learner has it, but without stored outputs, so that what a test finds was
        drawn now; and if asked, with only some of its cells.

        The kernel of the notebook that was open before is ended.
        """
        file = self.notebooks / path
        notebook = nbformat.read(file, as_version=4)
        if cells_to_keep is not None:
            notebook.cells = [cell for cell in notebook.cells if cells_to_keep(cell)]
        if not keep_outputs:
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, file)
        self.end_kernels()
        self.page.goto(f"{self.address}lab/tree/notebooks/{path}?reset&token={self.token}")
        opened = Notebook(self.page, path)
        opened._wait(
            READY,
            START_SECONDS + KERNEL_SECONDS,
            "the notebook's kernel was not ready",
            f"notebooks/{path}",
        )
        return opened

    def end_kernels(self) -> None:
        """Two cores have no room for the kernels of earlier tests."""
        for session in self._request("GET", "api/sessions"):
            self._request("DELETE", f"api/sessions/{session['id']}")

    def shut_down(self) -> None:
        self._request("POST", "api/shutdown")

    def _request(self, method: str, path: str):
        request = urllib.request.Request(
            self.address + path,
            method=method,
            data=b"" if method == "POST" else None,
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")


def copy_notebooks(folder: Path) -> None:
    """Notebooks and bundled data as the checkout has them; not what a learner has downloaded."""
    shutil.copytree(
        HERE / "notebooks",
        folder / "notebooks",
        ignore=shutil.ignore_patterns(".*", "runs", "progress.json*"),
    )
    (folder / "data").mkdir()
    for path in (HERE / "data").glob("*.npz"):
        shutil.copy(path, folder / "data")


def command_for(course: Path) -> list[str]:
    """What starts JupyterLab on a folder, on a port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={course}",
        "--LabApp.expose_app_in_browser=True",
        *["--allow-root"] * is_root(),
    ]
    return [sys.executable, "-m", "jupyterlab", *options]


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, str]]:
    """JupyterLab on ``folder/course``; yields its address and token."""
    course, own = folder / "course", folder / "jupyter"
    course.mkdir()
    copy_notebooks(course)
    for name, values in SETTINGS.items():
        file = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    token = secrets.token_hex(16)
    environment = {**os.environ, "JUPYTER_TOKEN": token, "IPYTHONDIR": str(own / "ipython")}
    for kind in ("CONFIG", "DATA", "RUNTIME"):
        environment[f"JUPYTER_{kind}_DIR"] = str(own / kind.lower())
    for kind in ("SETTINGS", "WORKSPACES"):
        environment[f"JUPYTERLAB_{kind}_DIR"] = str(own / kind.lower())
    command = command_for(course)
    log = folder / "jupyterlab.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=course,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield wait_for_server(server, own / "runtime", log), token
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for_server(server: subprocess.Popen, runtime: Path, log: Path) -> str:
    """The address, with the port that it really got: another may have taken the free one."""

    def address() -> str | None:
        if server.poll() is not None:
            raise Problem(
                f"JupyterLab ended at its start:\n{log.read_text(errors='replace')[-2000:]}"
            )
        for file in runtime.glob("jpserver-*.json"):
            with suppress(OSError, ValueError, KeyError):
                url = json.loads(file.read_text(encoding="utf-8"))["url"]
                urllib.request.urlopen(url + "api", timeout=5).close()
                return url
        return None

    return wait_until(address, START_SECONDS, "JupyterLab did not answer")


# Not for the session: while Playwright is open, its event loop keeps others in this thread waiting.
@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory) -> Iterator[JupyterLab]:
    pytest.importorskip(
        "playwright", reason="browser tests need playwright: pip install -r requirements-test.txt"
    )
    executable = find_browser()
    if executable is None:
        pytest.skip(f"browser tests need one of {', '.join(BROWSERS)} on the PATH")
    folder = tmp_path_factory.mktemp("jupyterlab")
    with serve(folder) as (address, token), browse(executable) as page:
        lab = JupyterLab(address, token, folder / "course", page)
        yield lab
        page.goto("about:blank")
        lab.shut_down()  # ends the kernels too, on every system
