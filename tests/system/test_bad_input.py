"""Wrong inputs: one clear sentence naming the culprit, the documented exit code, no traceback, nothing left behind."""

from pathlib import Path

import pytest

from dmlray.data.synthetic import SynthSpec, synthesize
from tests.system.conftest import Answer, Command

SPEC = SynthSpec(level="video", train=40, validation=20, test=0, shards=1, classes=8, visual_width=8, audio_width=4)
SHARD = "train/train0000.tfrecord"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "tfrecords"
    synthesize(folder, SPEC)
    return folder


def assert_refused(answer: Answer, code: int, *words: str) -> None:
    assert answer.code == code, answer.err
    assert "Traceback" not in answer.err
    (sentence,) = [line for line in answer.err.splitlines() if line.startswith("dmlray: ")]
    for word in words:
        assert word in sentence


def assert_nothing_converted(folder: Path) -> None:
    assert not list(folder.rglob("manifest.json"))
    assert not list(folder.rglob("*.arrow"))


@pytest.mark.ray
class TestConvert:
    @pytest.fixture(autouse=True)
    def _ray(self, ray_session: None) -> None:
        """One Ray for all."""

    def test_a_missing_path(self, dmlray: Command) -> None:
        assert_refused(dmlray("convert", "nowhere", "--out", "out"), 66, "nowhere")
        assert not Path("out").exists()

    def test_an_empty_folder(self, dmlray: Command) -> None:
        Path("empty").mkdir()
        assert_refused(dmlray("convert", "empty", "--out", "out"), 66, "empty")

    def test_a_file_that_is_no_tfrecord(self, dmlray: Command, shards: Path) -> None:
        (shards / SHARD).write_text("VideoId,Labels\n" * 100)
        assert_refused(dmlray("convert", shards, "--out", "out"), 65, SHARD, "TFRecord")
        assert_nothing_converted(Path("out/train"))

    def test_a_truncated_shard(self, dmlray: Command, shards: Path) -> None:
        whole = (shards / SHARD).read_bytes()
        (shards / SHARD).write_bytes(whole[:-7])
        assert_refused(dmlray("convert", shards, "--out", "out"), 65, SHARD, "record 39", "byte ")
        assert_nothing_converted(Path("out/train"))

    def test_a_flipped_bit(self, dmlray: Command, shards: Path) -> None:
        flipped = bytearray((shards / SHARD).read_bytes())
        flipped[len(flipped) // 2] ^= 4
        (shards / SHARD).write_bytes(flipped)
        assert_refused(dmlray("convert", shards, "--out", "out"), 65, SHARD, "record ", "byte ")
        assert_nothing_converted(Path("out/train"))

    def test_quarantine_goes_on_and_counts(self, dmlray: Command, shards: Path) -> None:
        flipped = bytearray((shards / SHARD).read_bytes())
        flipped[len(flipped) // 2] ^= 4
        (shards / SHARD).write_bytes(flipped)
        answer = dmlray("convert", shards, "--out", "out", "--on-bad-record", "quarantine")
        assert answer.code == 0
        assert "out/train: 39 videos" in answer.out
        assert "1 bad record" in answer.err

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"feature: mean_rgb": "feature: mean_color"}, ["mean_color"]),
            ({"width: 8": "width: 9"}, ["mean_rgb", "9"]),
            ({"classes: 8": "classes: 3"}, ["labels", "3"]),
        ],
    )
    def test_records_that_do_not_fit_the_schema(
        self, dmlray: Command, shards: Path, change: dict[str, str], words: list[str]
    ) -> None:
        text = (shards / "schema.yaml").read_text()
        for old, new in change.items():
            assert old in text
            text = text.replace(old, new)
        Path("other.yaml").write_text(text)
        answer = dmlray("convert", shards, "--out", "out", "--schema", "other.yaml")
        assert_refused(answer, 65, SHARD, "record ", "byte ", *words)

    def test_an_out_that_holds_something_else(self, dmlray: Command, shards: Path) -> None:
        Path("out").mkdir()
        Path("out/thesis.txt").write_text("mine")
        assert_refused(dmlray("convert", shards, "--out", "out"), 2, "out")
        assert Path("out/thesis.txt").read_text() == "mine"


class TestSearch:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("space:\n  epochs: 2\n  lerning_rate: 0.1\n", ["s.yaml:3", "lerning_rate"]),
            ("space:\n  optimizer: {kind: adam, learning_rate: {float: [0.1, 0.01]}}\n", ["s.yaml:2", "learning_rate"]),
            ("space:\n  encoder: {choice: []}\n", ["s.yaml:2", "encoder"]),
            ("space: !!python/object/apply:os.getcwd []\n", ["s.yaml:1"]),
        ],
    )
    def test_a_space_that_makes_no_sense(self, dmlray: Command, text: str, words: list[str]) -> None:
        Path("s.yaml").write_text(text)
        assert_refused(dmlray("search", "--data", "d", "--space", "s.yaml", "--name", "x"), 78, *words)
        assert not Path("results/x").exists()

    def test_data_that_is_not_there(self, dmlray: Command) -> None:
        Path("s.yaml").write_text("space: {epochs: 2}\n")
        assert_refused(dmlray("search", "--data", "d", "--space", "s.yaml", "--name", "x"), 66, "d")
        assert not Path("results/x").exists()

    def test_missing_options_and_names_that_cannot_be(self, dmlray: Command) -> None:
        assert_refused(dmlray("search"), 2, "dmlray init", "--resume")
        assert_refused(dmlray("search", "--resume", "nothing"), 66, "nothing")
        assert_refused(dmlray("search", "--resume", "x", "--name", "y"), 2, "--resume")
        assert_refused(dmlray("search", "--resume", "x", "--seed", "1"), 2, "--seed")
        assert dmlray("search", "--trials", "0").code == 2


@pytest.mark.parametrize("command", ["top", "status", "ensemble"])
def test_a_sweep_that_does_not_exist(dmlray: Command, command: str) -> None:
    assert_refused(dmlray(command, "nothing"), 66, "nothing")


def test_an_ensemble_of_none(dmlray: Command) -> None:
    assert_refused(dmlray("ensemble", "any", "--top", "0"), 2, "top", "0")


def test_synth_into_a_folder_that_is_used(dmlray: Command) -> None:
    Path("used").mkdir()
    Path("used/file").touch()
    assert_refused(dmlray("synth", "used"), 2, "used")


def test_inspect_garbage(dmlray: Command) -> None:
    Path("notes.txt").write_text("not a shard, just text that is long enough to be read")
    assert_refused(dmlray("inspect", "notes.txt"), 65, "notes.txt")
    assert_refused(dmlray("inspect", "gone.tfrecord"), 66, "gone.tfrecord")
