"""A lab in a page: what a person sees of it, how its controls are moved, and what that took."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from headless import wait_until

# What a person sees: read-outs, choices, the picture's fingerprint, the line of text.
SEEN = """async root => {
    const all = selector => Array.from(root.querySelectorAll(selector));
    const bytes = await (await fetch(root.querySelector('.shown img').src)).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return {
        sliders: all('input[type=range]').map(each => each.getAttribute('aria-valuetext')),
        choices: all('select').map(each => each.selectedOptions[0].text),
        switches: all('.controls input[type=checkbox]').map(each => each.checked),
        picture: Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join(''),
        status: root.querySelector('.status').textContent,
        busy: root.classList.contains('busy'),
    };
}"""

# The same, as the kernel has it; and errors that a lab told of.
KNOWN = """
import hashlib, json
from course_utils.classroom.open_labs import OPEN
course_labs, course_errors = list(OPEN.values()), []
for each in course_labs:
    def watched(text, busy=False, say=each.say):
        if "Error: " in text:
            course_errors.append(text)
        say(text, busy)
    each.say = watched
def course_known(number):
    lab = course_labs[number]
    def shown(kind):
        return [control.texts[control.options.index(lab.values[name])]
                for name, control in lab.controls.items() if control.kind == kind]
    print(json.dumps({"sliders": shown("slider"), "choices": shown("choice"),
                      "switches": [text == "True" for text in shown("switch")],
                      "picture": hashlib.sha256(lab.png).hexdigest(),
                      "status": lab.text, "busy": lab.worker._busy()}))
"""

# Times of keys and of pictures, by the page's own clock: a picture counts when it can be seen.
WATCH = """root => {
    const watched = root.courseWatched = {acts: [], pictures: []};
    const act = () => watched.acts.push(performance.now());
    for (const kind of ['keydown', 'change', 'click']) root.addEventListener(kind, act, true);
    root.querySelector('.shown img').addEventListener(
        'load', () => watched.pictures.push(performance.now()));
}"""
FORGET = "root => { root.courseWatched.acts.length = root.courseWatched.pictures.length = 0; }"
COUNT_VALUES = """slider => {
    slider.courseValues = 0;
    slider.addEventListener('input', () => { slider.courseValues += 1; });
}"""
FIRST = """root => {
    const {acts, pictures} = root.courseWatched;
    const first = pictures.find(at => at > acts[0]);
    return first === undefined ? null : first - acts[0];
}"""


@dataclass
class Lab:
    """One lab in the page: a locator on its root, and what a person would see of it."""

    root: Any  # playwright's Locator

    def status(self) -> str:
        return self.root.locator(".status").first.inner_text().strip()

    def sliders(self) -> list[Any]:
        """They take the focus and the keys: Home, End and the arrows."""
        return self.root.locator("input[type=range]").all()

    def choices(self) -> list[Any]:
        return self.root.locator("select").all()

    def switches(self) -> list[Any]:
        return self.root.locator(".controls input[type=checkbox]").all()

    def button(self, name: str) -> Any:
        return self.root.get_by_role("button", name=name, exact=True)

    def seen(self) -> dict[str, Any]:
        """What the page shows: read-outs, choices, picture, status, and whether it is busy."""
        from playwright.sync_api import Error

        for _ in range(20):  # the picture may be replaced while it is read
            with suppress(Error):
                return self.root.evaluate(SEEN)
            time.sleep(0.02)
        return self.root.evaluate(SEEN)

    def watch(self) -> None:
        """Begin to note the times of keys and of pictures."""
        self.root.evaluate(WATCH)

    def press(self, name: str) -> None:
        """Press a button, if it can be pressed: at once, for a training may end meanwhile."""
        self.button(name).evaluate("button => button.click()")

    def latency(
        self, act: Callable[[], object], seconds: float = 60, stop: bool = False
    ) -> tuple[float, float]:
        """Seconds from ``act()`` to the first new picture, and to the last one, at rest again;
        ``stop`` ends the training after the first."""
        self.root.evaluate(FORGET)
        began = time.perf_counter()
        act()
        first = wait_until(
            lambda: self.root.evaluate(FIRST), seconds, "the lab's picture did not change"
        )
        if stop:
            self.press("Stop")
        self.wait_at_rest(seconds)
        return first / 1000, time.perf_counter() - began

    def a_drag(self, slider: Any, seconds: float = 2.0) -> tuple[float, float]:
        """Move a slider's handle to and fro; returns (pictures before its release, values that it
        took), each a second."""
        slider.evaluate(COUNT_VALUES)
        box, mouse = slider.bounding_box(), self.root.page.mouse
        y = box["y"] + box["height"] / 2
        mouse.move(box["x"] + box["width"] / 2, y)
        mouse.down()
        self.root.evaluate(FORGET)
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            mouse.move(box["x"] + box["width"] * (0.1 + 0.8 * abs((left * 0.7) % 2 - 1)), y)
            time.sleep(0.015)
        pictures = self.root.evaluate("root => root.courseWatched.pictures.length")
        values = slider.evaluate("each => each.courseValues")
        mouse.up()
        return pictures / seconds, values / seconds

    def wait_at_rest(self, seconds: float = 60) -> None:
        self.root.page.wait_for_function(
            "root => !root.classList.contains('busy')",
            arg=self.root.element_handle(),
            timeout=1000 * seconds,
        )

    def wait_for_status(self, accept: Callable[[str], bool], seconds: float = 10) -> str:
        """Wait until ``accept(status)`` holds, and return that status."""
        return wait_until(
            lambda: accept(now := self.status()) and now, seconds, "the lab's status did not come"
        )
