"""A notebook that is open in a real JupyterLab: its cells, its labs, and what the kernel knows.

``browser.py`` starts the server and opens the page.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headless import Problem, wait_until

KERNEL_SECONDS, RUN_SECONDS = 30, 300

# The notebook in front, once document and kernel are truly there. JupyterLab's own indicator
# says "idle" earlier, and a Run All given then is dropped.
READY = """path => {
    const panel = window.jupyterapp?.shell.currentWidget, context = panel?.sessionContext;
    const kernel = context?.session?.kernel;
    return Boolean(panel?.context?.path === path && panel.context.isReady && panel.isVisible
        && context.isReady && kernel?.connectionStatus === 'connected' && kernel.status === 'idle');
}"""

RUN_ALL = """() => {
    window.courseRun = 'running';
    window.jupyterapp.commands.execute('notebook:run-all-cells')
        .then(() => { window.courseRun = 'done'; },
              reason => { window.courseRun = 'failed: ' + reason; });
}"""

IDLE = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    return panel.sessionContext.session.kernel.status === 'idle'
        && panel.content.widgets.every(cell => !(cell.prompt ?? '').includes('*'));
}"""

ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell, index) =>
    (cell.model.type === 'code' ? cell.model.outputs.toJSON() : [])
        .filter(output => output.output_type === 'error')
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

# What a person sees of a lab: read-outs, choices, the picture's fingerprint, the line of text.
SEEN = """async root => {
    const plain = text => text.replace(/\\s+/g, ' ').trim();
    const all = selector => Array.from(root.querySelectorAll(selector));
    const texts = selector => all(selector).map(each => plain(each.innerText));
    const image = root.querySelector('.course-lab-picture img, img.course-lab-picture');
    const bytes = await (await fetch(image.src)).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return {
        sliders: texts('.widget-readout'),
        choices: all('select').map(each => plain(each.selectedOptions[0].text)),
        picture: Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join(''),
        status: texts('.course-lab-status')[0],
        busy: root.classList.contains('course-lab-busy'),
    };
}"""

# The same, as the kernel has it; whether a training is in flight; and errors that a lab told of.
KNOWN = """
import asyncio, hashlib, html, ipywidgets, json, re
from course_utils.classroom.lab import Lab
every = ipywidgets.widgets.widget._instances.values()
course_labs = [each for each in every if isinstance(each, Lab)]
course_errors, course_loops = [], set()
for each in course_labs:
    each.status.observe(
        lambda change: course_errors.extend(re.findall(r"\\w*Error: .*", change.new)), "value")
def course_known(number):
    lab = course_labs[number]
    # JupyterLab talks to widgets through a shell of their own, with its own thread and event loop.
    course_loops.update(each.task.get_loop() for each in course_labs if each.task is not None)
    tasks = [task.get_coro().__name__ for loop in course_loops for task in asyncio.all_tasks(loop)]
    controls = lab.controls.values()
    sliders = [each.options[each.index][0] if hasattr(each, "index") else f"{each.value}"
               for each in controls if not isinstance(each, ipywidgets.Dropdown)]
    choices = [each.label for each in controls if isinstance(each, ipywidgets.Dropdown)]
    status = " ".join(html.unescape(re.sub("<[^>]+>", "", lab.status.value)).split())
    picture = hashlib.sha256(lab.picture.value).hexdigest()
    print(json.dumps({"sliders": sliders, "choices": choices, "picture": picture,
                      "status": status, "busy": tasks.count("_train") > 0}))
"""

# An image widget gets a new address with every value, even for the same picture: compare contents.
PICTURE = """async image => {
    const bytes = await (await fetch(image.src)).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join('');
}"""


@dataclass
class Lab:
    """One lab in the page: a locator on its root, and what a person would see of it."""

    root: Any  # playwright's Locator

    @property
    def image(self):
        return self.root.locator("img.course-lab-picture, .course-lab-picture img").first

    def picture(self) -> str:
        """A fingerprint of what the picture shows."""
        from playwright.sync_api import Error

        for _ in range(20):  # the image may be replaced while it is read
            with suppress(Error):
                return self.image.evaluate(PICTURE)
            time.sleep(0.02)
        return self.image.evaluate(PICTURE)

    def status(self) -> str:
        return self.root.locator(".course-lab-status").first.inner_text().strip()

    def sliders(self) -> list:
        """The handles, which take the focus and the keys: Home, End and the arrows."""
        return self.root.locator(".noUi-handle").all()

    def choices(self) -> list:
        return self.root.locator("select").all()

    def buttons(self) -> list:
        return self.root.locator("button").all()

    def seen(self) -> dict:
        """What the page shows: read-outs, choices, picture, status, and whether it is busy."""
        from playwright.sync_api import Error

        for _ in range(20):  # the image may be replaced while it is read
            with suppress(Error):
                return self.root.evaluate(SEEN)
            time.sleep(0.02)
        return self.root.evaluate(SEEN)

    def first_change(self, act: Callable[[], object], seconds: float = 60) -> float:
        """Seconds from ``act()`` to the first new picture."""
        image = self.image.element_handle()
        old, start = image.get_attribute("src"), time.perf_counter()
        act()
        self.root.page.wait_for_function(
            "([image, old]) => image.src !== old", arg=[image, old], timeout=1000 * seconds
        )
        return time.perf_counter() - start

    def latency(self, act: Callable[[], object], seconds: float = 60) -> tuple[float, float]:
        """Seconds from ``act()`` to the first new picture, and to the last one, at rest again."""
        start, first = time.perf_counter(), self.first_change(act, seconds)
        self.root.page.wait_for_function(
            "root => !root.classList.contains('course-lab-busy')",
            arg=self.root.element_handle(),
            timeout=1000 * seconds,
        )
        return first, time.perf_counter() - start

    def wait_for_change(self, before: str, seconds: float = 10) -> str:
        """Wait until the picture is another than ``before``, and return it."""
        return wait_until(
            lambda: (now := self.picture()) != before and now,
            seconds,
            "the lab's picture did not change",
        )

    def wait_for_status(self, accept: Callable[[str], bool], seconds: float = 10) -> str:
        """Wait until ``accept(status)`` holds, and return that status."""
        return wait_until(
            lambda: accept(now := self.status()) and now, seconds, "the lab's status did not come"
        )


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
        """Until no cell waits and the kernel has nothing to do. A lab's training, between two
        breaths, looks idle: wait for its status instead."""
        self._wait(IDLE, seconds, "the kernel did not come to rest")

    def errors(self) -> list[str]:
        """What failed in the cells' outputs: "cell 3: NameError: ..."."""
        return self.page.evaluate(ERRORS)

    def kernel_eval(self, code: str) -> str:
        """Run code in the notebook's own kernel; what it prints, and the value of its last line."""
        answer = self.page.evaluate(KERNEL_EVAL, code)
        if answer["error"]:
            raise Problem(f"in the kernel: {answer['error']}")
        return answer["text"].strip()

    def agreed(self, lab: Lab, number: int, seconds: float = 30) -> dict:
        """Wait until no training is in flight and the page shows what the kernel has; returns that.

        ``number`` counts the notebook's labs from 0. Raises Problem with both sides otherwise.
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

    def _wait(
        self, condition: str, seconds: float, complaint: str, argument: object = None
    ) -> None:
        from playwright.sync_api import TimeoutError as PlaywrightTimeout

        try:
            self.page.wait_for_function(condition, arg=argument, timeout=1000 * seconds)
        except PlaywrightTimeout as error:
            dialogues = "; ".join(self.page.locator(".jp-Dialog").all_inner_texts())
            asked = f"; JupyterLab asks: {dialogues}" if dialogues else ""
            raise Problem(f"{self.path}: {complaint} within {seconds:g} s{asked}") from error
