"""The head of a report: how the sweep stands, what it was asked for, its best trials, and what failed."""

from collections import Counter

from dmlray.report.blocks import Block, Listing, Section, Table, Text
from dmlray.report.content import Content
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.runs import label
from dmlray.sweep.summary import duration_s, ranking, span

SHOWN = 15  # rows of the leaderboard; the rest stands folded


def state_section(content: Content) -> Section:
    """In a few sentences: how far the sweep has come, and what the reader has to know before trusting the rest."""
    summary = content.summary
    blocks: list[Block] = [Text(_state_sentence(content)), *(Text(f"{error}.", "warning") for error in content.damage)]
    if content.config.refit is not None:
        words = f"The members of {content.config.refit} trained anew, on validation videos too: validation figures "
        blocks.append(Text(f"{words}mean nothing here, only those on test do.", "warning"))
    if not content.has_study:
        blocks.append(Text("Nothing can be said of its trials: restore the study from a copy.", "warning"))
    elif not content.trials:
        blocks.append(Text("No trial has been asked for yet: the sweep is empty.", "warning"))
    elif summary.failed and not summary.complete + summary.pruned + summary.running:
        reasons = _reasons([trial for trial in content.trials if trial.state is TrialState.failed])
        blocks.append(Text(f"Every trial so far failed ({reasons}); the messages are under Failures.", "warning"))
    elif summary.failed:
        blocks.append(Text(f"{_count(summary.failed)} failed; the messages are under Failures.", "note"))
    if content.state == "interrupted":
        blocks.append(Text(f"Go on with: dmlray search --resume {content.config.name}", "note"))
    blocks += [Text(problem, "warning") for problem in content.problems]
    return Section("State", blocks)


def settings_section(content: Content) -> Section:
    """What the sweep was asked for."""
    if content.settings_text is not None:
        lost: list[Block] = [Text("The settings could not be understood; the file is shown as it stands.", "warning")]
        return Section("Settings", [*lost, Listing("sweep.yaml", content.settings_text), *_space_listing(content)])
    config, stopping = content.config, content.stopping
    resources = config.resources
    rule = "unknown" if stopping is None else "none"
    if stopping is not None and stopping.rule != "none":
        rule = f"{stopping.rule}, from epoch {stopping.min_epochs}, the best 1/{stopping.eta} of a rung go on"
    limit = "as many as fit" if resources.concurrency is None else str(resources.concurrency)
    rows = [
        ("data", str(config.data)),
        *([] if config.stream is None else [("train, streamed", config.stream)]),
        ("videos", ", ".join(f"{split} {count:,}" for split, count in content.videos.items()) or "unknown"),
        ("trials", str(config.trials)),
        ("seed", str(config.seed)),
        ("sampler", config.sampler),
        ("early stopping", rule),
        (
            "resources",
            f"{resources.cpus_per_trial:g} CPU, {resources.gpus_per_trial:g} GPU per trial; at once: {limit}",
        ),
        ("searched parameters", str(len(content.parameters))),
        ("tracking", config.tracking_uri),
    ]
    return Section("Settings", [Table("Settings", ("setting", "value"), rows), *_space_listing(content)])


def _space_listing(content: Content) -> list[Block]:
    return [Listing("Search space (space.yaml)", content.space_text)] if content.space_text else []


def leaderboard_section(content: Content) -> Section:
    """Trials by validation GAP."""
    ranked = ranking(content.trials)
    if not ranked:
        return Section("Leaderboard", [Text("No trial has reported a GAP yet.")])
    rows = [_row(place, trial, content.state) for place, trial in enumerate(ranked, start=1)]
    head = ("", "trial", "state", "val GAP", "test GAP", "epochs", "training", "model")
    numbers = frozenset({"", "trial", "val GAP", "test GAP", "epochs", "training"})
    blocks: list[Block] = [Text(_ranking_sentence(ranked))]
    blocks.append(Table("Best trials", head, rows[:SHOWN], numbers))
    if rows[SHOWN:]:
        blocks.append(Table(f"The other {_count(len(rows) - SHOWN)}", head, rows[SHOWN:], numbers, folded=True))
    return Section("Leaderboard", blocks)


def failures_section(content: Content) -> Section | None:
    """Failed trials by reason, with their messages; None where nothing failed."""
    failed = [trial for trial in content.trials if trial.state is TrialState.failed]
    if not failed:
        return None
    refused = sum(trial.reason == "bad_config" for trial in failed)
    text = f"{_count(len(failed))} of {len(content.trials)} failed: {_reasons(failed)}."
    if refused:
        text += " A configuration that cannot be built (bad_config) does not count towards the trials wanted."
    rows = [(str(trial.number), trial.reason or "unknown", trial.message or "", label(trial)) for trial in failed]
    head = ("trial", "reason", "message", "model")
    blocks: list[Block] = [Text(text)]
    blocks.append(Table("Failed trials", head, rows[:SHOWN], frozenset({"trial"})))
    if rows[SHOWN:]:
        blocks.append(Table(f"The other {_count(len(rows) - SHOWN)}", head, rows[SHOWN:], frozenset({"trial"}), True))
    return Section("Failures", blocks)


def _state_sentence(content: Content) -> str:
    summary = content.summary
    if content.damage:
        return "The sweep is damaged: this page has what could still be read."
    counts = [(summary.complete, "complete"), (summary.pruned, "stopped early"), (summary.failed, "failed")]
    counts.append((summary.running, "running" if content.state == "running" else "interrupted"))
    parts = ", ".join(f"{count} {word}" for count, word in counts if count) or "none started"
    text = f"The sweep is {content.state}: of {_count(summary.wanted)} wanted, {parts}."
    if content.state == "running" and summary.left_s:
        text += f" About {span(summary.left_s)} of work are left if one trial runs at a time."
    return text


def _ranking_sentence(ranked: list[TrialRecord]) -> str:
    best = ranked[0]
    text = f"Ranked by validation GAP@20. Trial {best.number} leads with {best.best_so_far or 0:.4f}"
    if len(ranked) > 1:
        lead = (best.best_so_far or 0) - (ranked[1].best_so_far or 0)
        text += f", {lead:.4f} ahead of trial {ranked[1].number}"
    if "test_gap" in best.metrics:
        text += f"; on test it has {best.metrics['test_gap']:.4f}, which chose nothing"
    return f"{text}."


def _row(place: int, trial: TrialRecord, sweep_state: str) -> tuple[str, ...]:
    words = {TrialState.pruned: "stopped", TrialState.running: sweep_state}
    test = trial.metrics.get("test_gap")
    return (
        str(place),
        str(trial.number),
        words.get(trial.state, trial.state.value),
        f"{trial.best_so_far or 0:.4f}",
        "" if test is None else f"{test:.4f}",
        f"{trial.curve[-1][0]} of {trial.config.get('epochs', '?')}",
        span(duration_s(trial) or 0.0),
        label(trial),
    )


def _reasons(failed: list[TrialRecord]) -> str:
    counts = Counter(trial.reason or "unknown" for trial in failed)
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item)))


def _count(trials: int) -> str:
    return f"{trials} trial{'s' if trials != 1 else ''}"
