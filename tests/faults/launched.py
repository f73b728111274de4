"""`ray up cluster/onprem.yaml` on hosts of `tests.faults.hosts`, from a laptop that is one of them.

Of the file only addresses and user are replaced, and Ray is told of one CPU, a small object store and no dashboard.
`setup_node.sh` runs as it is, but finds its virtual environment installed: a view of the one that runs the tests.
"""

import hashlib
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.faults.hosts import HOME, Host, Network
from tests.faults.runs import REPOSITORY

_SMALL = " --num-cpus={} --object-store-memory=80000000 --disable-usage-stats"
_TOO_SLOW = "The current node timed out during startup"  # Ray gives itself 30 s, which a busy machine may exceed
_LOCKED = ("cluster/requirements.txt", "cluster/dashboard.txt", "pyproject.toml")
# Prints the addresses of the nodes that are alive as soon as they are those that are wanted, or time is over.
_WAIT = """
import sys, time
from ray._raylet import GcsClient
head, wanted, deadline = sys.argv[1], sorted(sys.argv[3:]), time.monotonic() + float(sys.argv[2])
client = GcsClient(address=head)
while True:
    nodes = client.get_all_node_info().values()
    found = sorted(node.node_manager_address for node in nodes if node.state == 0)
    if found == wanted or time.monotonic() > deadline:
        break
    time.sleep(1)
print(*found)
"""


class Launched:
    """A head and ``workers`` with Ray on them, whose processes have ``environment``.

    As in clusters that are paid for, trials are for the workers, and for the head where there is none.
    """

    def __init__(self, network: Network, environment: Mapping[str, str], workers: int) -> None:
        given = dict(environment) | {
            "PYTHONPATH": str(REPOSITORY),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
        }
        self._network = network
        self.laptop = network.add("laptop", {})
        self.head = network.add("head", given)
        self.workers = [network.add(f"worker{number}", given) for number in range(1, workers + 1)]
        self._file = network.folder / f"onprem-{self.head.link}.yaml"
        self._file.write_text(self._document())
        self.laptop.run(f"cp {network.key} ~/.ssh/id_ed25519 && {_ray('get-auth-token --generate')} >/dev/null")
        self.laptop.run("chmod 600 ~/.ray/auth_token")
        for host in self.nodes:
            _install(host)
        self.up()

    @property
    def nodes(self) -> list[Host]:
        """The head first."""
        return [self.head, *self.workers]

    def up(self) -> None:
        """Start Ray on the head, which starts it on the workers; all have joined when this returns."""
        try:
            self._on_laptop(f"up {self._file} --yes")
        except AssertionError as error:
            if _TOO_SLOW not in str(error):
                raise
            self._on_laptop(f"up {self._file} --yes")
        self.wait_for(self.nodes)

    def replace_head(self) -> None:
        """The head is gone for good; a new machine becomes that of a new cluster with the workers."""
        self._network.replace(self.head)
        _install(self.head)
        self.up()

    def switch_off(self) -> None:
        """All of its machines."""
        for host in (self.laptop, *self.nodes):
            host.kill()

    def whole(self) -> None:
        """Have all nodes there: what has no power gets it, and the head brings back whom it misses."""
        for host in self.nodes:
            if not host.is_on:
                self._network.switch_on(host)
        self.wait_for(self.nodes)

    def wait_for(self, hosts: list[Host], timeout_s: float = 300) -> None:
        """Until these and no others are alive, as the head sees it."""
        wanted = [host.address for host in hosts]
        words = [sys.executable, "-c", _WAIT, f"{self.head.address}:6379", str(timeout_s), *wanted]
        found = self.head.run(shlex.join(words), timeout_s + 60).split()
        assert found == sorted(wanted), f"{found} are alive, not {sorted(wanted)}"

    def _on_laptop(self, words: str) -> str:
        return self.laptop.run(f"cd {REPOSITORY} && {_ray(words)}", timeout_s=300)

    def _document(self) -> str:
        document = yaml.safe_load((REPOSITORY / "cluster/onprem.yaml").read_text())
        document["provider"]["head_ip"] = self.head.address
        document["provider"]["worker_ips"] = [host.address for host in self.workers]
        document["max_workers"] = len(self.workers)
        document["auth"]["ssh_user"] = "root"
        for kind in ("head", "worker"):
            stop, start = document[f"{kind}_start_ray_commands"]
            options = " --include-dashboard=false" if kind == "head" else ""
            cpus = 0 if kind == "head" and self.workers else 1
            document[f"{kind}_start_ray_commands"] = [stop, start + _SMALL.format(cpus) + options]
        return yaml.safe_dump(document)


def _ray(words: str) -> str:
    return f"{Path(sys.executable).with_name('ray')} {words}"


def _install(host: Host) -> None:
    """What `setup_node.sh` leaves behind, had it installed everything."""
    wanted = hashlib.sha256(b"".join((REPOSITORY / name).read_bytes() for name in _LOCKED)).hexdigest()
    venv, ours = f"{HOME}/.dmlray-venv", sys.prefix
    links = " && ".join(f"ln -s {ours}/{name} {venv}/{name}" for name in ("bin", "lib", "pyvenv.cfg"))
    host.run(f"mkdir {venv} && {links} && echo '{wanted}  -' >{venv}/.installed")
