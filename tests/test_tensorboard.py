"""TensorBoard for real: event files read back, the server started, its page seen in a browser."""

import logging
import re
import urllib.request
import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional

from browser import BROWSERS, browse, find_browser
from course_utils import load_mnist, make_mlp
from course_utils.diagnostics import Instruments
from course_utils.lessons.time_and_tracking.tracking import event_table
from course_utils.servers import start_page, stop_page, tensorboard

pytestmark = pytest.mark.slow

SummaryWriter = pytest.importorskip("torch.utils.tensorboard").SummaryWriter


@pytest.fixture(scope="module")
def data():
    return load_mnist(subset=200, image_size=14).train


@pytest.fixture(scope="module")
def logged(data, tmp_path_factory):
    """(folder, instruments) of a short training that logged everything the notebook logs."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    model = make_mlp(196, width=8, depth=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    instruments = Instruments(model, optimizer, data.images, keep=5)
    with SummaryWriter(str(folder / "relu")) as writer, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.trace")
        instruments.write(writer)  # nothing to write yet: no error
        for _ in range(11):
            optimizer.zero_grad()
            functional.cross_entropy(model(data.images), data.labels).backward()
            optimizer.step()
            instruments.write(writer)
            instruments.write(writer)  # the same reading: written once
        writer.add_images(
            "filters/first layer", model[1].weight.detach().view(8, 1, 14, 14).clamp(0, 1)
        )
        writer.add_graph(model, data.images[:1])
    return folder, instruments


def test_what_was_logged_is_what_was_measured(logged):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, instruments = logged
    events = EventAccumulator(str(folder / "relu"), size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    tags = events.Tags()
    assert tags["graph"] and tags["images"] == ["filters/first layer"]
    assert sorted(tags["histograms"]) == ["gradients/1", "gradients/4", "gradients/7"]
    for quantity in ("gradient_norm", "update_ratio", "weight_norm", "std", "dead"):
        table = instruments[quantity]
        for layer in table.columns:
            points = events.Scalars(f"{quantity}/{layer}")
            assert [point.step for point in points] == list(table.index)
            np.testing.assert_allclose(
                [point.value for point in points], table[layer], rtol=1e-5, atol=1e-6
            )
    assert not any(tag.startswith("saturated") for tag in tags["scalars"]), (
        "ReLU has none: nothing is to be logged"
    )
    drawn = events.Histograms("gradients/1")
    assert [point.step for point in drawn] == [0, 5, 10]
    assert drawn[1].histogram_value.num == 8 * 196
    assert drawn[1].histogram_value.max == pytest.approx(
        instruments.snapshots[5]["1"].max().item(), rel=1e-5
    )


def test_the_summary_counts_what_stands_in_the_files(logged):
    folder, instruments = logged
    table = event_table(folder)
    [row] = table.to_dict("records")
    assert list(table.index) == ["relu"] and row["graph"] and row["histograms"] == 3
    assert row["points"] == row["scalars"] * len(instruments.steps)


def test_lightnings_logger_writes_the_same_kind_of_files(data, tmp_path):
    lightning = pytest.importorskip("lightning")
    from lightning.pytorch.loggers import TensorBoardLogger
    from torch.utils.data import DataLoader, TensorDataset

    class Digits(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = make_mlp(196, width=8)

        def training_step(self, batch, _):
            loss = functional.cross_entropy(self.network(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=TensorBoardLogger(str(tmp_path), name="net"),
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Digits(), DataLoader(TensorDataset(data.images, data.labels), batch_size=50))
    trainer.logger.experiment.close()
    table = event_table(tmp_path)
    [row] = table.to_dict("records")
    assert table.index[0].startswith("net/") and row["scalars"] >= 1 and row["points"] >= 4


@pytest.fixture(scope="module")
def server(logged):
    page = start_page(tensorboard(logged[0]), "TensorBoard")
    yield page.address
    stop_page(page)
    assert not page.is_open
    with pytest.raises(OSError):
        urllib.request.urlopen(page.address, timeout=2)


def test_the_server_answers_on_this_machine_only(server):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", server)
    with urllib.request.urlopen(server + "data/runs", timeout=30) as answer:
        assert b"relu" in answer.read()


def test_the_page_shows_scalars_and_histograms(server):
    pytest.importorskip(
        "playwright", reason="browser tests need playwright: pip install -r requirements-test.txt"
    )
    executable = find_browser()
    if executable is None:
        pytest.skip(f"browser tests need one of {', '.join(BROWSERS)} on the PATH")
    with browse(executable) as page:
        page.goto(server + "#scalars")
        page.get_by_text("gradient_norm", exact=True).click()  # only the first groups are open
        for tag in ("gradient_norm/1", "gradient_norm/7"):
            page.get_by_text(f"tag: {tag}").wait_for(timeout=60_000)
        page.wait_for_function(drawn("tf-scalar-card path"), timeout=60_000)
        page.goto(server + "#histograms")
        page.reload()
        for tag in ("gradients/1", "gradients/7"):
            page.get_by_text(tag, exact=True).first.wait_for(timeout=60_000)
        page.wait_for_function(drawn("vz-histogram-timeseries path"), timeout=60_000)


def drawn(selector: str) -> str:
    """JavaScript: whether a curve of some length was drawn in an element of the page, or of its
    shadow trees."""
    outer, inner = selector.split()
    return f"""() => {{
        const below = e => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])];
        const all = root => [...root.querySelectorAll('*')].flatMap(below);
        const inside = card => [...all(card), ...(card.shadowRoot ? all(card.shadowRoot) : [])];
        return all(document).filter(e => e.localName === '{outer}').some(card =>
            inside(card).some(e => e.localName === '{inner}'
                && (e.getAttribute('d') ?? '').length > 30
                && e.getBoundingClientRect().width > 50));
    }}"""
