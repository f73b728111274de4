"""I9: which processes belong to a sandbox, by what /proc says of them."""

import os
from pathlib import Path


def processes_of(folder: Path) -> list[str]:
    """Live processes whose environment or command line names the folder, this one apart."""
    needle, found = str(folder).encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if int(process.name) != os.getpid() and state != "Z" and needle in environment + command:
            found.append(f"{process.name} {command.replace(bytes(1), b' ').decode(errors='replace')[:120]}")
    return found
