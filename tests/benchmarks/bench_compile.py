"""What torch.compile gains and costs, by architecture: `python -m tests.benchmarks.bench_compile`.

Both loops train the same model on the same videos in one process, epoch by epoch in turn; times are those of
`bench_models`. Compiling is everything that the first two epochs take beyond two later ones.
"""

import argparse
import statistics
import time

import torch

from dmlray.config import TrialConfig
from tests.benchmarks.bench_models import SIZES, cases, seconds
from tests.benchmarks.model_data import Videos
from tests.benchmarks.model_loops import own_loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="some architectures")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print("| | times as fast compiled | seconds to compile |\n| --- | ---: | ---: |")
    for name, config, videos in cases(SIZES[device.type], chosen.only):
        print(row(name, config, videos, device, chosen.rounds), flush=True)


def row(name: str, config: TrialConfig, videos: Videos, device: torch.device, rounds: int) -> str:
    plain = own_loop(config, videos, device)
    compiled = own_loop(config.model_copy(update={"compile": True}), videos, device)
    plain()
    began = time.perf_counter()
    compiled()
    compiled()
    first = time.perf_counter() - began
    times = [(seconds(plain, device), seconds(compiled, device)) for _ in range(rounds)]
    ratio = statistics.median(one / other for one, other in times)
    began = time.perf_counter()
    compiled()
    return f"| {name} | {ratio:.2f} | {first - 2 * (time.perf_counter() - began):.0f} |"


if __name__ == "__main__":
    main()
