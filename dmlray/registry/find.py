"""Which ensemble a user means."""

from pathlib import Path

from dmlray.ensemble.report import MEMBERS_FILE
from dmlray.errors import MissingInputError, UsageError
from dmlray.registry.contents import CONTENTS
from dmlray.registry.export import PACKAGE
from dmlray.sweep.settings import SweepFolder, load_settings


def find_package(name: str, results: Path) -> Path:
    """The folder of a package: ``name`` is a sweep (of one ensemble), sweep/ensemble, or such a folder itself.

    Raises MissingInputError where there is none, UsageError where the sweep has several.
    """
    if (Path(name) / CONTENTS).is_file():
        return Path(name)
    if (refit := find_refit(name, results)) is not None:
        return refit
    folder, ensemble = find_ensemble(name, results)
    package = folder.ensemble(ensemble) / PACKAGE
    if not (package / CONTENTS).is_file():
        raise MissingInputError(package, f"package ({CONTENTS}); `dmlray ensemble` makes one")
    return package


def find_refit(name: str, results: Path) -> Path | None:
    """The package of the ensemble that was trained anew which ``name`` (sweep/ensemble) means, if it is one."""
    sweep, _, ensemble = name.partition("/")
    directory = SweepFolder(results, sweep).ensemble(ensemble or "-")
    is_refit = (directory / PACKAGE / CONTENTS).is_file() and not (directory / MEMBERS_FILE).is_file()
    return directory / PACKAGE if is_refit else None


def find_ensemble(name: str, results: Path) -> tuple[SweepFolder, str]:
    """The sweep and the ensemble that ``name`` means: a sweep (of one ensemble) or sweep/ensemble.

    Raises MissingInputError where there is none, UsageError where the sweep has several.
    """
    sweep, _, ensemble = name.partition("/")
    folder = SweepFolder(results, sweep)
    found = sorted(path.parent.name for path in folder.path.glob(f"ensemble/*/{MEMBERS_FILE}"))
    if ensemble in found or (len(found) == 1 and not ensemble):
        return folder, ensemble or found[0]
    if ensemble or not found:
        load_settings(folder)
        raise MissingInputError(folder.ensemble(ensemble), "ensemble (`dmlray ensemble` chooses one)")
    raise UsageError(f"sweep {sweep} has several ensembles, name one: {', '.join(f'{sweep}/{one}' for one in found)}")
