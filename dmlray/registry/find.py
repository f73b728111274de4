"""Which package a user means."""

from pathlib import Path

from dmlray.errors import MissingInputError, UsageError
from dmlray.registry.contents import CONTENTS
from dmlray.registry.export import PACKAGE


def find_package(name: str, results: Path) -> Path:
    """The folder of a package: ``name`` is a sweep (of one ensemble), sweep/ensemble, or such a folder itself.

    Raises MissingInputError where there is none, UsageError where the sweep has several.
    """
    if (Path(name) / CONTENTS).is_file():
        return Path(name)
    sweep, _, ensemble = name.partition("/")
    folder = results / sweep / "ensemble"
    if ensemble:
        if (folder / ensemble / PACKAGE / CONTENTS).is_file():
            return folder / ensemble / PACKAGE
        raise MissingInputError(folder / ensemble, f"package ({PACKAGE}/{CONTENTS}): choose one with `dmlray ensemble`")
    found = sorted(folder.glob(f"*/{PACKAGE}/{CONTENTS}"))
    if not found:
        raise MissingInputError(folder, "packaged ensemble: choose one with `dmlray ensemble`")
    if len(found) > 1:
        names = ", ".join(f"{sweep}/{path.parent.parent.name}" for path in found)
        raise UsageError(f"sweep {sweep} has several ensembles, name one of them: {names}")
    return found[0].parent
