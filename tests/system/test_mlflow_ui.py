"""MLflow's page as a person sees it, in a real browser: a sweep's trials, five compared, its ensemble, its model.

Screenshots are kept in results/screenshots for a person to look at.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dmlray.cli.fsck import _runs
from dmlray.cli.publish import publish_ensemble
from dmlray.registry.export import export_package
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.settings import load_settings
from dmlray.sweep.study import Study
from dmlray.sweep.summary import ranking
from dmlray.tracking import Tracker, ui_command
from tests.data.videos import VIDEO
from tests.registry.sweeps import VIDEO_MODELS, sweep_of
from tests.report.sweeps import make_sweep, trained
from tests.system.browser import CHROMIUM, DRIVER, Browser, chromium, free_port, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),  # SQLAlchemy, of MLflow's models
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]

PICTURES = Path(__file__).parents[2] / "results" / "screenshots"
RUNS = "/experiments/1/runs"
BY_GAP = f"{RUNS}?orderByKey=metrics.%60val_gap%60&orderByAsc=false"
NAMES = "//a[starts-with(normalize-space(.), '#')]"


def link(text: str) -> str:
    """The XPath of a link by what it says."""
    return f"//a[normalize-space(.)='{text}']"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str], list[TrialRecord]]:
    """A sweep of eight trials in MLflow, with a published ensemble: its address, runs by name, trials."""
    folder = tmp_path_factory.mktemp("mlflow")
    packaged = sweep_of(folder, VIDEO, VIDEO_MODELS)
    export_package(packaged, "top5")
    made = make_sweep(folder / "made", trained, 8)
    uri = load_settings(packaged).tracking_uri
    with closing(Study.open(made.study, read_only=True)) as study:
        trials = study.trials()
    records = _runs(load_settings(made).model_copy(update={"tracking_uri": uri}), trials)
    tracker = Tracker(uri, "dmlray")
    tracker.sync(records)
    publish_ensemble(packaged, "top5", "videos")
    return uri, {record.name: tracker.run_id(record.key) for record in records}, trials


@pytest.fixture(scope="module")
def page(store: tuple[str, dict[str, str], list[TrialRecord]]) -> Iterator[str]:
    """Where `dmlray ui` serves it."""
    port = free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(ui_command(store[0], port=port), start_new_session=True, **quiet)
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/#"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with chromium(tmp_path / "profile") as found:
        yield found


def test_a_sweep_is_one_line_that_opens(page: str, browser: Browser) -> None:
    browser.open(f"{page}{RUNS}")
    browser.click("//*[normalize-space(text())='Model training']")  # as `dmlray ui` says: it opens for agents
    browser.wait(link("Models"))
    browser.wait(link("first"))
    assert not browser.texts(NAMES)
    browser.click(f"{link('first')}/ancestor::div[@role='gridcell']//button")
    browser.wait(NAMES)
    assert len(browser.texts(NAMES)) == 8
    browser.screenshot(PICTURES / "1-sweep.png")


def test_trials_are_sorted_by_gap(page: str, browser: Browser, store: tuple[str, dict, list[TrialRecord]]) -> None:
    browser.open(f"{page}{BY_GAP}")
    for place, trial in enumerate(ranking(store[2])[:3]):
        browser.wait(f"//div[@row-index='{place}']//a[starts-with(normalize-space(.), '#{trial.number} ')]")
    browser.screenshot(PICTURES / "2-by-gap.png")


def test_five_trials_are_compared(page: str, browser: Browser, store: tuple[str, dict, list[TrialRecord]]) -> None:
    chosen = [run for name, run in store[1].items() if name.startswith("#")][:5]
    browser.open(f"{page}/compare-runs?runs={json.dumps(chosen)}&experiments=[%221%22]")
    browser.wait("//*[contains(normalize-space(text()), 'Comparing 5 Runs')]")
    browser.wait("//*[contains(text(), 'optimizer.learning_rate')]")
    browser.screenshot(PICTURES / "3-compared.png")


def test_an_ensemble_shows_its_picture(page: str, browser: Browser) -> None:
    browser.open(f"{page}{BY_GAP}")
    browser.click(link("ensemble top5"))
    browser.wait("//*[contains(text(), 'ensemble_report_gap')]")
    browser.screenshot(PICTURES / "4-ensemble.png")
    browser.click("//*[@role='tab' or self::a][normalize-space(.)='Artifacts']")
    browser.click("//*[normalize-space(text())='growth.svg']")
    browser.wait("//img[contains(@src, 'blob:') or contains(@src, 'growth')] | //*[contains(@class, 'image')]//canvas")
    browser.screenshot(PICTURES / "5-growth.png")


def test_a_trial_tells_what_it_read_and_its_model(page: str, browser: Browser, store: tuple[str, dict, list]) -> None:
    best = ranking([trial for trial in store[2] if trial.state.name == "complete"])[0]
    (run,) = (run for name, run in store[1].items() if name.startswith(f"#{best.number} "))
    browser.open(f"{page}{RUNS}/{run}")
    browser.wait("//*[contains(normalize-space(text()), 'data validation')]")
    browser.wait(f"//*[contains(normalize-space(text()), 'first-{best.number}')]")
    browser.screenshot(PICTURES / "7-trial.png")


def test_models_are_compared_by_data_set(page: str, browser: Browser, store: tuple[str, dict, list]) -> None:
    complete = [trial for trial in store[2] if trial.state.name == "complete"]
    browser.open(f"{page}/experiments/1/models")
    for trial in complete:
        browser.wait(link(f"first-{trial.number}"))
    browser.screenshot(PICTURES / "8-models.png")


def test_the_registered_model_is_there(page: str, browser: Browser) -> None:
    browser.open(f"{page}/models/videos")
    browser.wait(link("Version 1"))
    browser.screenshot(PICTURES / "6-model.png")
