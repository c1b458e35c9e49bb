"""A notebook that is open in a real JupyterLab: its cells, its labs, and what the kernel knows.

``browser.py`` starts the server and opens the page.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from headless import Problem
from lab_page import Lab

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

        ``number`` counts the notebook's labs from 0, in the order of their making. Raises Problem
        with both sides otherwise.
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
