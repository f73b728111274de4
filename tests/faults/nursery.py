"""A process that has imported everything and forks drivers: a run starts in a tenth of a second.

It reads requests from stdin and answers on stdout, one JSON line each: ``{"folder": ...}`` forks a driver and gives its
process id, ``{"poll": pid}`` gives its exit code (of a killed one, minus the signal) or null while it runs. It has one
thread only, so that forking is safe.
"""

import json
import os
import pickle
import sys
import threading
from pathlib import Path

import mlflow.tracking  # noqa: F401  imported here so that no driver has to
import optuna.samplers  # noqa: F401
import torch

from dmlray.config import TrialConfig
from dmlray.model.build import check_buildable
from dmlray.tracking.store import prepare_environment
from tests.data.videos import VIDEO
from tests.faults import driver


def main() -> None:
    prepare_environment()
    check_buildable(TrialConfig(), VIDEO)  # the first model and the first optimiser import a second's worth of torch
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    assert threading.active_count() == 1, "a process with threads cannot be forked"
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                _become_driver(request)
        print(json.dumps(answer), flush=True)


def _become_driver(request: dict[str, str]) -> None:
    os.setsid()
    os.chdir(request["folder"])
    os.environ |= request["environment"]  # type: ignore[operator]
    for descriptor, name in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    sys.stdin = open(0)  # noqa: SIM115
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    code = 0
    try:
        driver.on_hands()
        driver.main(pickle.loads(Path(request["plan"]).read_bytes()), request["words"])  # type: ignore[arg-type]
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
