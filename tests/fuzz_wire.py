"""Fuzz the reader with atheris, which is not a dependency: in an environment that has it beside dmlray,

    python -m tests.fuzz_wire CORPUS tests/data/seeds -max_total_time=600 -timeout=5 -rss_limit_mb=4000

atheris keeps about 8 KB of every run (without its instrumentation nothing grows), hence the limit. An input on which
it stops belongs into tests/data/seeds, where a test replays it.
"""

import sys

import atheris

with atheris.instrument_imports(include=["dmlray.data"]):
    from tests.data.wire_law import check


def main() -> None:
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
