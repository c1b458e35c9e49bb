"""The thread in which a lab trains and draws, beside the kernel's own."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from ..threads import one_thread

Values = dict[str, Any]
REDRAW_SECONDS = 0.07  # between two pictures while training: drawing must not starve the training


class Worker:
    """The thread in which a lab trains and draws: the newest request wins, none waits in line."""

    def __init__(self, lab: Any):
        self.lab, self.paused, self.number = lab, False, 0
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted: tuple[Values, bool] | None = None  # (values, whether its end counts)
        self._task: Callable[[], None] | None = None
        self._turned: Values = {}
        self._running = self._stopped = self._step = self._closed = False

    def ask(self, values: Values, finished: bool = True) -> None:
        """Train for these values, and leave whatever was in flight."""
        self._change(_wanted=(dict(values), finished), paused=False, _turned={})

    def turn(self, changes: Values) -> bool:
        """Hand changes to the run in flight; False where there is none."""
        with self._condition:
            if self._running and self._wanted is None:
                self._turned = self._turned | changes
                self._condition.notify()
                return True
            return False

    def do(self, task: Callable[[], None]) -> None:
        """Something for this thread to do between two results."""
        self._change(_task=task)

    def stop(self) -> None:
        """Leave the run in flight where it is."""
        self._change(_stopped=self._running, paused=False)

    def pause(self) -> None:
        """Hold the run in flight, or let it go on."""
        self._change(paused=self._running and not self.paused)

    def step(self) -> None:
        """One result more, and hold."""
        self._change(paused=self._running, _step=True)

    def close(self) -> None:
        self._change(_closed=True)

    def wait(self, seconds: float = 300) -> None:
        """Until nothing is left to do. Raises TimeoutError."""
        with self._condition:
            free = self._condition.wait_for(lambda: not self._busy(), seconds)
        if not free:
            raise TimeoutError(f"the lab is still at work after {seconds} s")

    def _busy(self) -> bool:
        return self._running or self._wanted is not None or self._task is not None

    def _change(self, **state: Any) -> None:
        with self._condition:
            vars(self).update(state)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, daemon=True, name="lab")
                self._thread.start()
            self._condition.notify_all()

    def _work(self) -> None:
        with one_thread():
            while True:
                with self._condition:
                    self._condition.wait_for(lambda: self._busy() or self._closed)
                    if self._closed:
                        return
                    wanted, self._wanted = self._wanted, None
                    self._running, self._stopped = wanted is not None, False
                try:
                    self._do_task()
                    if wanted is not None:
                        self._train(*wanted)
                except Exception as error:  # the page is where the learner looks
                    self.lab.say(f"{type(error).__name__}: {error}")
                    traceback.print_exc()
                with self._condition:
                    self._running = False
                    self._condition.notify_all()

    def _do_task(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task()

    def _train(self, values: Values, finished: bool) -> None:
        """One run: each result goes to the picture, until it ends or something newer is asked."""
        lab, results, changes, draw_at = self.lab, None, None, 0.0
        lab.begin(values)
        results = lab.run(values)
        while True:
            try:
                lab.result = results.send(changes)
            except StopIteration:
                lab.end(finished)
                lab.show()
                return
            start = time.perf_counter()
            if start >= draw_at or self.paused:
                lab.paint(lab.result)
                lab.show(busy=True)
                now = time.perf_counter()
                draw_at = now + max(REDRAW_SECONDS, 2 * (now - start))
            changes = self._between()
            if self._wanted is not None or self._closed or self._stopped:
                results.close()
                if self._wanted is None and not self._closed:
                    lab.paint(lab.result)
                    lab.say(f"stopped: {lab.text}")
                return

    def _between(self) -> Values | None:
        """Between two results: hold while paused; returns what a learner turned meanwhile."""
        with self._condition:
            if self.paused and not self._step:
                self._condition.wait_for(
                    lambda: (
                        not self.paused
                        or self._step
                        or self._wanted
                        or self._closed
                        or self._stopped
                    )
                )
            self._step = False
            turned, self._turned = self._turned, {}
        self._do_task()
        return turned or None
