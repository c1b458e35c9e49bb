"""A real JupyterLab, and a real browser that drives it. Used by test_browser.py.

    def test_something(jupyterlab):
        page = jupyterlab.open_notebook("00_start_here.ipynb")
        page.run_all()
        lab = page.labs()[0]

The server works on a copy of the notebooks, with settings of its own: neither the checkout nor what the user
has set in their own JupyterLab is touched, and neither influences a test.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

HERE = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS, KERNEL_SECONDS, RUN_SECONDS = 60, 30, 300

SETTINGS = {
    # By default only the cells in view exist in the page: a lab further down could not be found.
    "notebook-extension/tracker": {"windowingMode": "none"},
    # No dialogue about news, no call for updates.
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

# The notebook in front, once its document and its kernel are truly there. JupyterLab's own indicator says "idle"
# earlier, and a Run All given then is dropped.
READY = """path => {
    const panel = window.jupyterapp?.shell.currentWidget, context = panel?.sessionContext;
    const kernel = context?.session?.kernel;
    return Boolean(panel?.context?.path === path && panel.context.isReady && panel.isVisible && context.isReady
        && kernel?.connectionStatus === 'connected' && kernel.status === 'idle');
}"""

RUN_ALL = """() => {
    window.courseRun = 'running';
    window.jupyterapp.commands.execute('notebook:run-all-cells')
        .then(() => { window.courseRun = 'done'; }, reason => { window.courseRun = 'failed: ' + reason; });
}"""

IDLE = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    return panel.sessionContext.session.kernel.status === 'idle'
        && panel.content.widgets.every(cell => !(cell.prompt ?? '').includes('*'));
}"""

ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell, index) =>
    (cell.model.type === 'code' ? cell.model.outputs.toJSON() : []).filter(output => output.output_type === 'error')
        .map(output => `cell ${index}: ${output.ename}: ${output.evalue}`))"""

KERNEL_EVAL = """async code => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const future = kernel.requestExecute({code, store_history: false, stop_on_error: false});
    let text = '', error = null;
    future.onIOPub = message => {
        const content = message.content;
        if (message.header.msg_type === 'stream' && content.name === 'stdout') text += content.text;
        else if (message.header.msg_type === 'execute_result') text += content.data['text/plain'];
        else if (message.header.msg_type === 'error') error = content.ename + ': ' + content.evalue;
    };
    await future.done;
    return {text, error};
}"""

# What a person sees of a lab: the sliders' read-outs, the choices, the picture's fingerprint, the line of text.
SEEN = """async root => {
    const plain = text => text.replace(/\\s+/g, ' ').trim();
    const texts = selector => Array.from(root.querySelectorAll(selector), each => plain(each.innerText));
    const image = root.querySelector('.course-lab-picture img, img.course-lab-picture');
    const bytes = await (await fetch(image.src)).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return {
        sliders: texts('.widget-readout'),
        choices: Array.from(root.querySelectorAll('select'), each => plain(each.selectedOptions[0].text)),
        picture: Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join(''),
        status: texts('.course-lab-status')[0],
        busy: root.classList.contains('course-lab-busy'),
    };
}"""

# The same, as the kernel has it; whether a training is in flight; and every error that a lab has told of.
KNOWN = """
import asyncio, hashlib, html, ipywidgets, json, re
from course_utils.classroom.lab import Lab
course_labs = [each for each in ipywidgets.widgets.widget._instances.values() if isinstance(each, Lab)]
course_errors, course_loops = [], set()
for each in course_labs:
    each.status.observe(lambda change: course_errors.extend(re.findall(r"\\w*Error: .*", change.new)), "value")
def course_known(number):
    lab = course_labs[number]
    # JupyterLab talks to widgets through a shell of their own, with its own thread and event loop.
    course_loops.update(each.task.get_loop() for each in course_labs if each.task is not None)
    tasks = [task.get_coro().__name__ for loop in course_loops for task in asyncio.all_tasks(loop)]
    sliders = [each.options[each.index][0] if hasattr(each, "index") else f"{each.value}" for each in lab.controls.values()
               if not isinstance(each, ipywidgets.Dropdown)]
    choices = [each.label for each in lab.controls.values() if isinstance(each, ipywidgets.Dropdown)]
    status = " ".join(html.unescape(re.sub("<[^>]+>", "", lab.status.value)).split())
    print(json.dumps({"sliders": sliders, "choices": choices, "picture": hashlib.sha256(lab.picture.value).hexdigest(),
                      "status": status, "busy": tasks.count("_train") > 0}))
"""

# An image widget gets a new address with every value, even for the same picture: compare what it shows.
PICTURE = """async image => {
    const bytes = await (await fetch(image.src)).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join('');
}"""


class Problem(AssertionError):
    """A notebook in the browser did not do what it should."""


@dataclass
class Lab:
    """One lab in the page: a locator on its root, and what a person would see of it."""

    root: object                                           # playwright's Locator

    @property
    def image(self):
        return self.root.locator("img.course-lab-picture, .course-lab-picture img").first

    def picture(self) -> str:
        """A fingerprint of what the picture shows."""
        from playwright.sync_api import Error

        for _ in range(20):                                # the image may be replaced while it is read
            with suppress(Error):
                return self.image.evaluate(PICTURE)
            time.sleep(0.02)
        return self.image.evaluate(PICTURE)

    def status(self) -> str:
        return self.root.locator(".course-lab-status").first.inner_text().strip()

    def sliders(self) -> list:
        """The handles, which take the focus and the keys. Press Home, End and the arrows on them."""
        return self.root.locator(".noUi-handle").all()

    def choices(self) -> list:
        return self.root.locator("select").all()

    def buttons(self) -> list:
        return self.root.locator("button").all()

    def seen(self) -> dict:
        """What the page shows: read-outs of the sliders, choices, picture, status, and whether it says it is busy."""
        from playwright.sync_api import Error

        for _ in range(20):                                # the image may be replaced while it is read
            with suppress(Error):
                return self.root.evaluate(SEEN)
            time.sleep(0.02)
        return self.root.evaluate(SEEN)

    def first_change(self, act: Callable[[], object], seconds: float = 60) -> float:
        """Seconds from ``act()`` to the first new picture."""
        image = self.image.element_handle()
        old, start = image.get_attribute("src"), time.perf_counter()
        act()
        self.root.page.wait_for_function("([image, old]) => image.src !== old", arg=[image, old], timeout=1000 * seconds)
        return time.perf_counter() - start

    def latency(self, act: Callable[[], object], seconds: float = 60) -> tuple[float, float]:
        """Seconds from ``act()`` to the first new picture, and to the last one, when the lab is at rest again."""
        start, first = time.perf_counter(), self.first_change(act, seconds)
        self.root.page.wait_for_function("root => !root.classList.contains('course-lab-busy')",
                                         arg=self.root.element_handle(), timeout=1000 * seconds)
        return first, time.perf_counter() - start

    def wait_for_change(self, before: str, seconds: float = 10) -> str:
        """Wait until the picture is another than ``before``, and return it."""
        return wait_until(lambda: (now := self.picture()) != before and now, seconds,
                          "the lab's picture did not change")

    def wait_for_status(self, accept: Callable[[str], bool], seconds: float = 10) -> str:
        """Wait until ``accept(status)`` holds, and return that status."""
        return wait_until(lambda: accept(now := self.status()) and now, seconds, "the lab's status did not come")


def wait_until(condition: Callable[[], object], seconds: float, complaint: str):
    """The first true value of ``condition()``. Raises Problem with ``complaint`` after ``seconds``."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Problem(f"{complaint} within {seconds:g} s")
        time.sleep(0.01)
    return value


class Notebook:
    """The notebook that is open in front."""

    def __init__(self, page, path: str):
        self.page, self.path = page, path

    def run_all(self, seconds: float = RUN_SECONDS) -> None:
        """Run every cell, in order, as the menu does; raises Problem if one ends in an error."""
        self.page.evaluate(RUN_ALL)
        self._wait("() => window.courseRun !== 'running'", seconds, "not all cells had run")
        self.wait_idle()
        if errors := self.errors():
            raise Problem(f"{self.path}: " + "; ".join(errors))

    def wait_idle(self, seconds: float = KERNEL_SECONDS) -> None:
        """Until no cell waits and the kernel has nothing to do. A lab's training, between two breaths, looks idle:
        wait for its status instead."""
        self._wait(IDLE, seconds, "the kernel did not come to rest")

    def errors(self) -> list[str]:
        """What failed in the cells' outputs: "cell 3: NameError: ..."."""
        return self.page.evaluate(ERRORS)

    def kernel_eval(self, code: str) -> str:
        """Run code in the notebook's own kernel; returns what it prints and the value of its last line."""
        answer = self.page.evaluate(KERNEL_EVAL, code)
        if answer["error"]:
            raise Problem(f"in the kernel: {answer['error']}")
        return answer["text"].strip()

    def agreed(self, lab: Lab, number: int, seconds: float = 30) -> dict:
        """Wait until no training is in flight and the page shows what the kernel has; returns that.

        ``number`` counts the notebook's labs from 0. Raises Problem with both sides if they do not come together.
        """
        end = time.monotonic() + seconds
        while True:
            known = json.loads(self.kernel_eval(f"course_known({number})"))
            seen = lab.seen()
            if seen == known and not known["busy"]:
                return seen
            if time.monotonic() > end:
                raise Problem(f"{self.path}: lab {number} shows {seen}, the kernel has {known}")
            time.sleep(0.05)

    def labs(self) -> list[Lab]:
        return [Lab(root) for root in self.page.locator(".course-lab").all()]

    def screenshot(self, path: Path | str) -> None:
        self.page.screenshot(path=str(path))

    def _wait(self, condition: str, seconds: float, complaint: str, argument: object = None) -> None:
        from playwright.sync_api import TimeoutError as PlaywrightTimeout

        try:
            self.page.wait_for_function(condition, arg=argument, timeout=1000 * seconds)
        except PlaywrightTimeout as error:
            dialogues = "; ".join(self.page.locator(".jp-Dialog").all_inner_texts())
            asked = f"; JupyterLab asks: {dialogues}" if dialogues else ""
            raise Problem(f"{self.path}: {complaint} within {seconds:g} s{asked}") from error


class JupyterLab:
    """A running server with its folder, and one browser page on it."""

    def __init__(self, address: str, token: str, folder: Path, page):
        self.address, self.token, self.folder, self.page = address, token, folder, page
        self.notebooks = folder / "notebooks"
        self._open: str | None = None

    def write_notebook(self, path: str, cells: list[nbformat.NotebookNode]) -> None:
        """A notebook of the test's own, below notebooks/."""
        metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), self.notebooks / path)

    def open_notebook(self, path: str, cells_to_keep: Callable[[nbformat.NotebookNode], bool] | None = None,
                      keep_outputs: bool = False) -> Notebook:
        """Open ``path`` (below notebooks/) and wait for its kernel. It opens as the learner has it, but without
        stored outputs, so that what a test finds was drawn now; and if asked, with only some of its cells.

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
        opened._wait(READY, START_SECONDS + KERNEL_SECONDS, "the notebook's kernel was not ready",
                     f"notebooks/{path}")
        return opened

    def end_kernels(self) -> None:
        """Two cores have no room for the kernels of earlier tests."""
        for session in self._request("GET", "api/sessions"):
            self._request("DELETE", f"api/sessions/{session['id']}")

    def shut_down(self) -> None:
        self._request("POST", "api/shutdown")

    def _request(self, method: str, path: str):
        request = urllib.request.Request(self.address + path, method=method, data=b"" if method == "POST" else None,
                                         headers={"Authorization": f"token {self.token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def copy_notebooks(folder: Path) -> None:
    """Notebooks and bundled data as the checkout has them; not what a learner has downloaded."""
    shutil.copytree(HERE / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*", "runs", "progress.json*"))
    (folder / "data").mkdir()
    for path in (HERE / "data").glob("*.npz"):
        shutil.copy(path, folder / "data")


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "JUPYTER_TOKEN": token, "JUPYTER_CONFIG_DIR": str(own / "config"),
                   "JUPYTER_DATA_DIR": str(own / "data"), "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
                   "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
                   "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"), "IPYTHONDIR": str(own / "ipython")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1",
               f"--ServerApp.port={port}", f"--ServerApp.root_dir={course}", "--LabApp.expose_app_in_browser=True",
               *["--allow-root"] * is_root()]
    log = folder / "jupyterlab.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=course, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                  stderr=subprocess.STDOUT)
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
    """The address, with the port that it really got: another process may have taken the one that was free."""
    def address() -> str | None:
        if server.poll() is not None:
            raise Problem(f"JupyterLab ended at its start:\n{log.read_text(errors='replace')[-2000:]}")
        for file in runtime.glob("jpserver-*.json"):
            with suppress(OSError, ValueError, KeyError):
                url = json.loads(file.read_text(encoding="utf-8"))["url"]
                urllib.request.urlopen(url + "api", timeout=5).close()
                return url
        return None

    return wait_until(address, START_SECONDS, "JupyterLab did not answer")


@contextmanager
def browse(executable: str) -> Iterator[object]:
    """A page of a browser without a window."""
    from playwright.sync_api import sync_playwright

    arguments = ["--disable-gpu", "--disable-background-networking"]
    if is_root() and sys.platform.startswith("linux"):
        arguments.append("--no-sandbox")                   # Chromium's sandbox refuses to start as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        try:
            yield browser.new_page(viewport={"width": 1280, "height": 900})
        finally:
            browser.close()


# Not for the session: while Playwright is open, its event loop keeps others from running theirs in this thread.
@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory) -> Iterator[JupyterLab]:
    pytest.importorskip("playwright", reason="browser tests need playwright: pip install -r requirements-test.txt")
    executable = find_browser()
    if executable is None:
        pytest.skip(f"browser tests need one of {', '.join(BROWSERS)} on the PATH")
    folder = tmp_path_factory.mktemp("jupyterlab")
    with serve(folder) as (address, token), browse(executable) as page:
        lab = JupyterLab(address, token, folder / "course", page)
        yield lab
        page.goto("about:blank")
        lab.shut_down()                                    # ends the kernels too, on every system
