#!/usr/bin/env python3
"""Runs on a spot machine: tells Ray once the cloud says that the machine will be taken away, so that trials leave it.

spot_notice.py aws|gcp HEAD_IP:6379
"""

import argparse
import subprocess
import time
import urllib.request
from collections.abc import Callable

LOOK_S = 5.0


def ask(url: str, method: str = "GET", **headers: str) -> str | None:
    """The body; None where there is no such page, or no answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method, headers=named), timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:  # of which HTTPError is one
        return None


def aws_warns(metadata: str) -> bool:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html: 2 minutes before."""
    token = ask(f"{metadata}/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60")
    page = f"{metadata}/latest/meta-data/spot/instance-action"
    return token is not None and ask(page, X_aws_ec2_metadata_token=token) is not None


def gcp_warns(metadata: str) -> bool:
    """https://cloud.google.com/compute/docs/instances/create-use-spot#detect-preemption: 30 s before."""
    return ask(f"{metadata}/computeMetadata/v1/instance/preempted", Metadata_Flavor="Google") == "TRUE"


CLOUDS: dict[str, tuple[Callable[[str], bool], str, int]] = {  # question, metadata server, seconds that are left
    "aws": (aws_warns, "http://169.254.169.254", 110),
    "gcp": (gcp_warns, "http://metadata.google.internal", 25),
}


def drain(head: str, left_s: int) -> bool:
    """Have Ray drain this node; whether it took that."""
    command = ["ray", "drain-node", "--address", head, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    command += ["--reason-message", "spot machine taken away", "--deadline-remaining-seconds", str(left_s)]
    return subprocess.run(command, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cloud", choices=CLOUDS)
    parser.add_argument("head", help="Ray's address on its head")
    parser.add_argument("--metadata", help="another metadata server")
    chosen = parser.parse_args()
    warns, metadata, left_s = CLOUDS[chosen.cloud]
    while not (warns(chosen.metadata or metadata) and drain(chosen.head, left_s)):
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main()
