"""The model card of a package: Markdown for people (Mitchell et al., 2019, "Model cards for model reporting")."""

from dmlray.ensemble.precision import Precision
from dmlray.registry.contents import PackageContents, Refit, digest_of

_STORED: dict[Precision, str] = {
    "float32": "Parameters are stored as they were trained, in float32.",
    "float16": "Parameters are stored in float16 and compute in float32.",
    "int8": "Matrices are stored as 8-bit integers with a scale for each row, and compute in float32.",
}


def model_card(contents: PackageContents) -> str:
    """Data, members, weights, GAP with its interval, hashes, and how to predict."""
    return (
        "\n\n".join(
            [
                f"# {contents.name}",
                f"An ensemble of {len(contents.members)} video classifiers, made by dmlray {contents.dmlray}. "
                "A video's scores are the weighted mean of its members' probabilities, one for each class.",
                _data(contents),
                _members(contents),
                *([_refit(contents.refit)] if contents.refit else []),
                _figures(contents),
                _use(),
                _hashes(contents),
            ]
        )
        + "\n"
    )


def _data(contents: PackageContents) -> str:
    schema = contents.contents
    modalities = ", ".join(f"{modality.name} ({modality.width} x {modality.dtype})" for modality in schema.modalities)
    frames = f" of at most {schema.max_frames} frames" if schema.level == "frame" else ""
    prints = "\n".join(f"| {split} | `{fingerprint}` |" for split, fingerprint in contents.data.items())
    return (
        f"## Data\n\nInput: {schema.level}-level features{frames}: {modalities}. Output: {schema.classes:,} classes."
        f"\n\n| trained and measured on | fingerprint |\n| --- | --- |\n{prints}"
    )


def _members(contents: PackageContents) -> str:
    rows = "\n".join(
        f"| {member.name} | {member.epoch} | {member.gap:.4f} | {member.weight:.4f} | {member.temperature:.3g} |"
        for member in contents.members
    )
    head = "| trial | epoch | own GAP | weight | temperature |\n| --- | ---: | ---: | ---: | ---: |"
    return f"## Members\n\n{head}\n{rows}\n\n{_STORED[contents.members[0].precision]}"


def _figures(contents: PackageContents) -> str:
    parts = " | ".join(f"{part} ({count:,})" for part, count in contents.videos.items())
    head = f"| GAP@20 on (videos) | members | {parts} |\n| --- |{' ---: |' * (1 + len(contents.videos))}"
    rows = "\n".join(
        f"| {way} | {figures.members} | {_gap(figures.selection)} | {_gap(figures.report, figures.report_interval)} | "
        f"{_gap(figures.test, figures.test_interval)} |"
        for way, figures in contents.figures.items()
    )
    title = "Figures of the members before they were trained anew" if contents.refit else "Figures"
    note = "Members were chosen on the selection part alone; in brackets, 95 % bootstrap intervals over videos."
    return f"## {title}\n\n{head}\n{rows}\n\n{contents.summary} {note}"


def _refit(refit: Refit) -> str:
    test = "There is no test split, so how good they are is not known."
    if refit.test is not None:
        before = "" if refit.test_before is None else f", {_gap(refit.test_before)} before"
        test = f"On test, which nothing was trained on, GAP@20 is {_gap(refit.test, refit.test_interval)}{before}."
    return (
        f"## Trained anew\n\nMembers of {refit.ensemble} (package `{refit.original[:12]}…`) were trained anew, each "
        f"for as many epochs as it had at its best, on all {refit.videos:,} videos of training and validation."
        f" {test} Validation figures mean nothing for them any more: weights, temperatures and the figures below are "
        "those of the members as they were chosen."
    )


def _gap(value: float | None, interval: tuple[float, float] | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" + (f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else "")


def _use() -> str:
    return (
        "## Use\n\n```python\nfrom dmlray.registry import load_package\n\n"
        'scores = load_package("package").predict(videos)  # (N, C) float32\n```\n\n'
        "From a shell: `dmlray predict --ensemble PACKAGE --data FEATURES --out submission.csv`."
    )


def _hashes(contents: PackageContents) -> str:
    rows = "\n".join(f"| `{name}` | `{sha256}` |" for name, sha256 in contents.files.items())
    digest = digest_of(contents.model_dump(mode="json"))
    return f"## Hashes\n\nThe package: `{digest}`.\n\n| file | SHA-256 |\n| --- | --- |\n{rows}"
