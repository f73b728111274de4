"""The page: whole in itself, inert, and there for every state that a sweep can be in."""

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from dmlray.errors import MissingInputError, UsageError
from dmlray.report.blocks import Figure
from dmlray.report.content import Content, read_content
from dmlray.report.page import build_report
from dmlray.report.plot import draw
from dmlray.report.progress import progress_section
from dmlray.sweep.settings import SweepFolder
from dmlray.sweep.study import Study, TrialRecord
from tests.report.sweeps import add_ensemble, failing, make_sweep, trained
from tests.sweep.spaces import SPACE

pytestmark = pytest.mark.thorough  # whole pages, one of two hundred trials

MADE = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
LOADING = {"src", "href", "srcset", "data", "poster", "action", "background", "xlink:href"}


class Page(HTMLParser):
    """Tags that are open, everything that a browser would load, and text as a reader sees it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        self.loads += [value or "" for name, value in attrs if name in LOADING]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += f" {data}"

    @property
    def pictures(self) -> list[bytes]:
        return [base64.b64decode(load.partition("base64,")[2]) for load in self.loads if load.startswith("data:")]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    folder = make_sweep(tmp_path_factory.mktemp("results"), trained, trials=20, space=SPACE)
    add_ensemble(folder, "top4")
    return folder


@pytest.fixture(scope="module")
def content(sweep: SweepFolder) -> Content:
    return read_content(sweep)


@pytest.fixture(scope="module")
def html(content: Content) -> str:
    """The page of ten times as many trials."""
    trials = [
        replace(trial, number=number, finished=trial.finished and trial.finished + timedelta(minutes=number))
        for number in range(200)
        if (trial := content.trials[number % len(content.trials)])
    ]
    return build_report(replace(content, trials=trials), MADE)


@pytest.fixture(scope="module")
def markdown(content: Content) -> str:
    return build_report(content, MADE, "md")


def test_the_page_needs_nothing_else(html: str) -> None:
    page = Page(html)
    assert not page.open
    assert not {"script", "link", "iframe", "object", "embed", "base", "svg"} & set(page.tags)
    assert all(re.match(r"#[a-z-]+$|data:image/svg\+xml;base64,", load) for load in page.loads)
    assert "@import" not in html
    assert "url(" not in html
    assert "default-src 'none'" in html


def test_pictures_need_nothing_else(html: str) -> None:
    pictures = Page(html).pictures
    assert len(pictures) == 3 + 1 + 1 + 13 + 4 + 1  # progress, importance, parallel, slices, ensemble, time
    for picture in pictures:
        for element in ElementTree.fromstring(picture).iter():
            assert "script" not in element.tag
            for name, value in element.attrib.items():
                assert not name.endswith("href") or value.startswith("#")
                assert "url(" not in value or "url(#" in value


def test_messages_are_inert(html: str) -> None:
    assert "<script" not in html
    assert "<script>alert(1)</script> | 20 GiB wanted" in Page(html).text


def test_every_part_is_there(markdown: str, content: Content) -> None:
    text = markdown.replace("\\", "")
    best = content.summary.best
    assert best is not None
    assert f"Trial {best.number} leads with {best.value:.4f}" in text
    assert content.ensembles["top4"].summary in text
    assert re.search(r"\d+ picks lifted GAP on the selection part", text)
    assert re.search(r"trials were stopped early: \d+ after epoch 1, \d+ after epoch 2", text)
    assert re.search(r"training \d+%, waiting for data \d+%, evaluation \d+%", text)
    assert "asha, from epoch 1" in text
    assert "4 trials of 20 failed: 4 out_of_memory" in text
    assert "description: every kind of leaf" in text
    assert re.search(r"With \d+ complete trials, fewer than 50, importance is rough", text)
    for parameter in content.parameters:
        assert parameter.name in text
    assert "2026-11-01 12:30 UTC" in text


def test_two_hundred_trials_fit_in_five_megabytes(html: str) -> None:
    assert len(html) < 5e6


def test_the_same_content_gives_the_same_pictures(content: Content) -> None:
    figure = progress_section(content).blocks[0]
    assert isinstance(figure, Figure)
    assert draw(figure.paint, figure.size) == draw(figure.paint, figure.size)


def test_markdown_is_inert_too(markdown: str) -> None:
    assert markdown.startswith("# Sweep first\n")
    assert "<script" not in markdown
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\| 20 GiB wanted" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(rows) > 40
    assert all(line.endswith(" |") for line in rows)


def test_refuses_another_format(content: Content) -> None:
    with pytest.raises(UsageError, match="--format takes one of html, md, got 'pdf'"):
        build_report(content, MADE, "pdf")  # type: ignore[arg-type]


def waiting(study: Study, trial: TrialRecord) -> None:
    """Asked for, never started."""


def halfway(study: Study, trial: TrialRecord) -> None:
    """Under way, with one epoch."""
    study.start(trial.number)
    study.report(trial.number, 1, {"val_gap": 0.25}, "epoch-0001.safetensors", "aa")


def diverged(study: Study, trial: TrialRecord) -> None:
    """An epoch without a value, then nothing."""
    study.start(trial.number)
    study.report(trial.number, 1, {"val_gap": float("nan")}, "epoch-0001.safetensors", "aa")
    study.fail(trial.number, "nan", "epoch 2: the loss is not finite")


@pytest.mark.parametrize(
    ("train", "trials", "words"),
    [
        (waiting, 0, ("is interrupted", "the sweep is empty", "No trial has reported a GAP", "resume first")),
        (waiting, 2, ("none started", "There is nothing to draw".lower(), "No epoch has been timed")),
        (failing, 3, ("Every trial so far failed (3 data)", "train/shard-00000.arrow is damaged")),
        (diverged, 1, ("Every trial so far failed (1 nan)", "there is nothing to draw")),
        (halfway, 1, ("1 interrupted", "leads with 0.2500", "Too few trials to say which parameters matter")),
        (trained, 1, ("1 complete", "No ensemble has been chosen")),
    ],
)
def test_every_state_gives_a_page(tmp_path: Path, train: Callable, trials: int, words: tuple[str, ...]) -> None:
    content = read_content(make_sweep(tmp_path, train, trials, wanted=5))
    text = " ".join(Page(build_report(content, MADE)).text.split())
    assert build_report(content, MADE, "md")
    for word in words:
        assert word in text


def test_a_running_sweep_says_so(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, halfway, 1, wanted=2)
    with Study.driven(folder.study, pytest.fail, print):
        text = build_report(read_content(folder), MADE, "md")
    assert "The sweep is running: of 2 trials wanted, 1 running." in text


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(b"[" + before[:40])
    yield
    path.write_bytes(before)


def test_what_cannot_be_read_is_told(sweep: SweepFolder, content: Content) -> None:
    with damaged(sweep.space), damaged(sweep.ensemble("top4") / "members.json"):
        found = read_content(sweep)
    assert {parameter.name for parameter in found.parameters} == {parameter.name for parameter in content.parameters}
    text = build_report(found, MADE, "md")
    assert "The search space could not be read" in text
    assert "The ensemble top4 is damaged or of another version" in text
    assert "The data could not be looked at" in text


def test_damaged_settings_leave_the_trials(sweep: SweepFolder, content: Content) -> None:
    with damaged(sweep.settings):
        found = read_content(sweep)
    text = build_report(found, MADE, "md").replace("\\", "")
    assert "The sweep is damaged" in text
    assert "sweep.yaml: is damaged" in text
    assert f"Trial {content.summary.best.number} leads" in text  # type: ignore[union-attr]
    assert "The settings could not be understood" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "sweep.yaml: is damaged or of another version (version: Input should be 1)"),
        ({"pruner": "none"}, "sweep.yaml: is damaged or of another version (pruner: Extra inputs are not permitted)"),
    ],
)
def test_settings_of_another_version_are_told(tmp_path: Path, changes: dict, words: str) -> None:
    folder = make_sweep(tmp_path, trained, 2)
    folder.settings.write_text(yaml.safe_dump(yaml.safe_load(folder.settings.read_text()) | changes))
    found = read_content(folder)
    assert found.state == "damaged"
    assert words in build_report(found, MADE, "md").replace("\\", "")


def test_configurations_of_an_older_version_are_described(content: Content) -> None:
    older = [replace(trial, config={"cell": "gru", "encoder": {"kind": "gru"}}) for trial in content.trials]
    assert "gru" in build_report(replace(content, trials=older), MADE)


def test_a_damaged_study_leaves_a_page(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, trained, 2)
    for path in (folder.study.with_name("study.db-wal"), folder.study.with_name("study.db-shm")):
        path.unlink(missing_ok=True)
    folder.study.write_bytes(b"no database" * 200)
    page = Page(build_report(read_content(folder), MADE))
    text = " ".join(page.text.split())
    assert "Nothing can be said of its trials" in text
    assert "No trial has been asked for yet" not in text
    assert "Learning curves" not in text


def test_no_such_sweep(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no sweep"):
        read_content(SweepFolder(tmp_path, "first"))
