"""Machines for tests: namespaces of network, processes, mounts and names on this one, each with its address and sshd.

They share the kernel, the CPUs and the folders that are kept for them, of which the tests make no use but to watch;
`ray stop` on one of them, and a host that is killed, end nothing outside of it.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.runs import CLEAN, REPOSITORY

HOME = "/run/home"
_SCRIPT = Path(__file__).with_name("host.sh")
_TOOLS = {  # and the packages that have them
    "ip": "iproute2",
    "tc": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "/usr/sbin/sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "rsync": "rsync",
}
_SSHD = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/login_key.pub
ListenAddress {address}
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
PidFile none
MaxStartups 100
"""


def missing() -> str | None:
    """Why there can be no hosts here; None where there can."""
    if os.geteuid() != 0:
        return "only root makes namespaces"
    if absent := sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None}):
        return f"install {' '.join(absent)}"
    tried = subprocess.run(["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "true"], check=False)
    return "this kernel or container forbids namespaces" if tried.returncode else None


@dataclass
class Host:
    """``init`` is its first process as this machine sees it, ``link`` the end of its cable that is not in it.

    Its home folder is its disk: that outlives a power cut.
    """

    name: str
    address: str
    link: str
    init: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def is_on(self) -> bool:
        """Whether it has power."""
        return self.process is not None and self.process.poll() is None

    def enter(self) -> list[str]:
        """What goes before a command that is to run there, in its folder FAULTS_FOLDER, as after a login."""
        script = 'cd "$FAULTS_FOLDER"; [ ! -e ~/.dmlray-env ] || . ~/.dmlray-env; unset DMLRAY_RESULTS; exec "$@"'
        return [*self._inside(), "env", f"HOME={HOME}", "bash", "-c", script, "-"]

    def run(self, command: str, timeout_s: float = 60) -> str:
        """What a shell there says. Raises AssertionError where the command fails."""
        done = subprocess.run(
            [*self.enter(), "bash", "-c", command],
            env=CLEAN | {"FAULTS_FOLDER": "/"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def cut(self) -> None:
        """Pull the cable out: nobody is told."""
        _do("ip", "link", "set", self.link, "down")

    def mend(self) -> None:
        """Put it in again."""
        _do("ip", "link", "set", self.link, "up")

    def slow(self, *discipline: str) -> None:
        """Have what goes to the host, and what comes from it, wait as ``tc qdisc`` says; nothing: no more."""
        for place, link in (((), self.link), (self._inside(), "eth0")):
            subprocess.run([*place, "tc", "qdisc", "del", "dev", link, "root"], capture_output=True, check=False)
            if discipline:
                _do(*place, "tc", "qdisc", "add", "dev", link, "root", *discipline)

    @contextmanager
    def on_bad_cable(self, delay_s: float, loss: float) -> Iterator[None]:
        """For the block each frame from or to the host takes ``delay_s``, or is lost with probability ``loss``."""
        near, far, side = (f"{kind}-{self.link}" for kind in ("n", "f", "s"))  # of the switch, of the host
        words = [sys.executable, "-m", "tests.faults.wire", near, far, str(delay_s), str(loss)]
        switch = _master(self.link)
        with subprocess.Popen(words, cwd=REPOSITORY, env=CLEAN, stdout=subprocess.PIPE) as wire:
            assert wire.stdout is not None
            try:
                assert wire.stdout.readline() == b"carries\n"
                _do("ip", "link", "add", side, "type", "bridge")
                _do("ip", "link", "set", side, "up")
                for link, master in ((near, switch), (far, side), (self.link, side)):
                    _do("ip", "link", "set", link, "master", master, "up")
                yield
            finally:
                if self.is_on:
                    _do("ip", "link", "set", self.link, "master", switch)
                wire.kill()
                subprocess.run(["ip", "link", "del", side], capture_output=True, check=False)

    def kill(self) -> None:
        """Take the power away: its processes are gone at once, and no word of it reaches the others."""
        if self.is_on:
            assert self.process is not None
            _do("ip", "link", "del", self.link)
            self.process.kill()  # with it goes the first process, and with that all others
            self.process.wait(30)

    def _inside(self) -> list[str]:
        return ["nsenter", "--target", str(self.init), "--mount", "--uts", "--ipc", "--net", "--pid"]


@dataclass
class Network:
    """Hosts on one switch at ``router``; folders ``kept`` are there at the same paths."""

    folder: Path
    number: int
    kept: Sequence[Path]
    hosts: list[Host] = field(default_factory=list)

    @property
    def bridge(self) -> str:
        """Its switch."""
        return f"dmlray{self.number}"

    @property
    def router(self) -> str:
        """This machine's address on it."""
        return f"198.18.{self.number}.1"  # of a range for tests of networks, RFC 2544

    @property
    def key(self) -> Path:
        """A private key that every host lets in."""
        return self.folder / "login_key"

    def add(self, name: str, environment: Mapping[str, str]) -> Host:
        """Another host, switched on; its sshd gives ``environment`` to who logs in."""
        number = len(self.hosts) + 10
        host = Host(name, f"198.18.{self.number}.{number}", f"dmlr{self.number}-{number}")
        variables = " ".join(f'"{name}={value}"' for name, value in environment.items())
        settings = _SSHD.format(folder=self.folder, address=host.address) + f"SetEnv {variables}\n" * bool(variables)
        (self.folder / f"{host.link}.sshd").write_text(settings)
        (self.folder / f"{host.link}.home").mkdir()
        self.hosts.append(host)
        self.switch_on(host)
        return host

    def replace(self, host: Host) -> None:
        """Have another machine in its place: the same name and address, nothing on its disk."""
        host.kill()
        home = self.folder / f"{host.link}.home"
        shutil.rmtree(home)
        home.mkdir()
        self.switch_on(host)

    def switch_on(self, host: Host) -> None:
        """Give it power; sshd answers when this returns."""
        home, sshd = (str(self.folder / f"{host.link}.{kind}") for kind in ("home", "sshd"))
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--pid", "--mount", "--uts", "--ipc", "--fork"]
        command += ["--kill-child", "--mount-proc", "bash", str(_SCRIPT), host.name, host.address, self.router]
        with (self.folder / f"{host.link}.log").open("a") as log:
            host.process = subprocess.Popen(
                [*command, HOME, home, sshd, str(self.folder), *map(str, self.kept)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        host.init = _child(host.process)
        _do("ip", "link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", str(host.init))
        _do("ip", "link", "set", host.link, "master", self.bridge, "up")
        self._wait_for_sshd(host)

    def _wait_for_sshd(self, host: Host) -> None:
        log, deadline = self.folder / f"{host.link}.log", time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with socket.create_connection((host.address, 22), timeout=1):
                    return
            except OSError:
                assert host.is_on, f"{host.name} ended: {log.read_text()}"
                time.sleep(0.1)
        raise TimeoutError(f"no sshd at {host.address} within 60 s: {log.read_text()}")


@contextmanager
def network(folder: Path, kept: Sequence[Path]) -> Iterator[Network]:
    """An empty one; its hosts are switched off at the end."""
    made = Network(folder, os.getpid() % 250, kept)
    for name in ("host_key", "login_key"):
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    # with an address of its own: that of one of its cables would change when that is pulled out
    _do("ip", "link", "add", made.bridge, "address", f"02:00:00:00:00:{made.number:02x}", "type", "bridge")
    try:
        _do("ip", "address", "add", f"{made.router}/24", "dev", made.bridge)
        _do("ip", "link", "set", made.bridge, "up")
        yield made
    finally:
        for host in made.hosts:
            host.kill()
        _do("ip", "link", "del", made.bridge)


def _master(link: str) -> str:
    """The switch that a cable is in."""
    return Path(f"/sys/class/net/{link}/master").resolve().name


def _child(process: "subprocess.Popen[bytes]") -> int:
    """The process that `unshare` has forked: the first of the new namespaces."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if found := children.read_text().split():
            return int(found[0])
        assert process.poll() is None, "unshare failed"
        time.sleep(0.01)
    raise TimeoutError("unshare has not forked within 10 s")


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
