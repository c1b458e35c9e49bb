"""Pages on this machine: TensorBoard and dashboards as processes of their own.

    board = start_page(tensorboard("runs"), "TensorBoard")
    board                                   # where it is, and who else can open it
    stop_page(board)

A page listens on loopback only, and ends with the process that started it, even when that is
killed: a guard (this file, run as a script) holds the other end of a pipe, and ends the page when
the pipe closes. What a killed guard left behind is ended when the next page starts.

None of these pages asks for a password: whoever is logged in to this machine can open them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

import psutil

HOST = "127.0.0.1"
OWNER = "COURSE_PAGE_OWNER"  # in a page's environment: "process number, when it began"
PATIENCE, TOLD = 10, 2000  # seconds to end by itself; characters of last words in an error


@dataclass(frozen=True)
class Page:
    """A page that is being served; shown in a notebook, it says where, and who can open it."""

    name: str
    address: str
    process: subprocess.Popen[bytes]  # its guard

    @property
    def is_open(self) -> bool:
        return self.process.poll() is None

    def __repr__(self) -> str:
        if not self.is_open:
            return f"{self.name} has ended."
        return (
            f"{self.name}: {self.address}\nOpen it in a browser on this machine; other machines "
            "cannot reach it. It asks for no password: other people who are logged in to this "
            "machine could open it, too. It ends with this notebook's kernel."
        )


def free_port() -> int:
    """A port on this machine that nobody listens to just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def tensorboard(folder: str | Path) -> list[str]:
    """The command for ``start_page``: TensorBoard over the event files below ``folder``."""
    place = ["--host", "{host}", "--port", "{port}"]
    quick = ["--load_fast", "false", "--reload_interval", "5"]
    return [script("tensorboard"), "--logdir", _plain(folder), *place, *quick]


def optuna_dashboard(storage: str) -> list[str]:
    """The command for ``start_page``: Optuna's dashboard over a storage, "sqlite:///study.db"."""
    place = ["--host", "{host}", "--port", "{port}", "--server", "wsgiref", "--quiet"]
    return [script("optuna-dashboard"), _plain(storage), *place]


def _plain(text: str | Path) -> str:
    """As it is, for ``start_page``, which fills in what stands in braces."""
    return str(text).replace("{", "{{").replace("}", "}}")


def script(name: str) -> str:
    """The command that a package has installed beside this Python; FileNotFoundError without."""
    schemes = {sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")}
    folders = [
        str(Path(sys.executable).parent),
        *(sysconfig.get_path("scripts", s) for s in schemes),
    ]
    for path in (os.pathsep.join(folders), None):  # None: wherever the system looks
        if found := shutil.which(name, path=path):
            return found
    raise FileNotFoundError(f"{name} is missing: python tools/set_up.py --group extra installs it")


def start_page(
    command: Sequence[str], name: str = "The page", *, path: str = "/", seconds: float = 60
) -> Page:
    """Run a command that serves a page, and return once the page answers.

    In ``command``, "{host}" and "{port}" stand for where to listen: loopback, and a free port;
    other braces are doubled. ``path`` is what is asked for. Raises RuntimeError, with the command's
    last words, if it ends or has not answered in time; FileNotFoundError where there is none.
    """
    end_leftovers()
    port = free_port()
    command = [part.format(host=HOST, port=port) for part in command]
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(f"{name}: there is no command {Path(command[0]).name}")
    with tempfile.TemporaryFile() as words:
        page = Page(name, f"http://{HOST}:{port}{path}", _guarded(command, words))
        try:
            _wait_until_open(page, words, seconds)
        except BaseException:
            stop_page(page)
            raise
    return page


def stop_page(page: Page) -> None:
    """End a page, and wait until it is gone. One that has ended already is left alone."""
    if page.process.stdin is not None:
        with contextlib.suppress(OSError):  # the guard was faster
            page.process.stdin.close()
    try:
        page.process.wait(2 * PATIENCE)
    except subprocess.TimeoutExpired:
        _end_tree(page.process.pid)
        page.process.wait()


def answers(address: str, seconds: float = 5) -> bool:
    """Whether something answers at this address of this machine.

    It is asked directly, whatever proxy the environment names: a proxy knows nothing of loopback.
    """
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(address, timeout=seconds):
            return True
    except urllib.error.HTTPError:  # an answer, too
        return True
    except (OSError, HTTPException):
        return False


def end_leftovers() -> list[int]:
    """End this user's pages whose owner is gone; returns their process numbers."""
    ended = []
    for process in psutil.process_iter():
        try:
            owner = process.environ().get(OWNER, "")
            if owner and _is_gone(owner):
                process.kill()
                ended.append(process.pid)
        except psutil.Error:  # another user's, or just gone
            continue
    return ended


def _is_gone(owner: str) -> bool:
    number, _, began = owner.partition(" ")
    try:
        process = psutil.Process(int(number))
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(process.create_time() - float(began)) > 1  # the number was given out again
    except ValueError:  # not of our making
        return False
    except psutil.NoSuchProcess:
        return True


def _wait_until_open(page: Page, words: IO[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while page.is_open and time.monotonic() < end:
        if answers(page.address) and page.is_open:
            return
        time.sleep(0.1)
    how = f"has not answered within {seconds:g} s" if page.is_open else "ended at once"
    words.seek(0)
    told = words.read().decode("utf-8", "replace").strip()[-TOLD:]
    raise RuntimeError(f"{page.name} {how}. It said: {told or 'nothing'}")


# The guard: between the owner and the page --------------------------------------------------------


def _guarded(command: Sequence[str], words: IO[bytes]) -> subprocess.Popen[bytes]:
    """The process that runs the command, and ends it when this process closes the pipe or dies."""
    me = psutil.Process()
    # A group of its own: Jupyter's Stop button interrupts the kernel's whole group.
    apart: dict[str, Any]
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    else:
        apart = {"start_new_session": True}
    return subprocess.Popen(
        # -P: this file's folder is no place to import from.
        [sys.executable, "-P", str(Path(__file__).resolve()), *command],
        stdin=subprocess.PIPE,
        stdout=words,
        stderr=subprocess.STDOUT,
        env={**os.environ, OWNER: f"{me.pid} {me.create_time()}"},
        **apart,
    )


def _guard(command: Sequence[str]) -> int:
    """Run the command until it ends, or until standard input does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    page = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=sys.stdout, stderr=subprocess.STDOUT
    )

    def watch() -> None:
        while os.read(0, 1):
            continue
        _end_tree(page.pid)

    threading.Thread(target=watch, daemon=True).start()
    try:
        return page.wait()
    finally:
        if page.poll() is None:
            _end_tree(page.pid)


def _end_tree(number: int) -> None:
    """End a process and those it has started: asked first, made to after a while."""
    try:
        process = psutil.Process(number)
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for way in ("terminate", "kill"):
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                getattr(each, way)()
        _, family = psutil.wait_procs(family, PATIENCE)


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[1:]))
