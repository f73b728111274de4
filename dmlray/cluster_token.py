"""Does a Ray that is running ask for a token? One that does not runs whatever anybody sends it."""

import http.client
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from dmlray.errors import UnavailableError, UsageError

_PATIENCE_S, _DASHBOARD_S = 25.0, 10.0
_GET_TOKEN = "copy the head's ~/.ray/auth_token to this machine, or set RAY_AUTH_TOKEN"
_HOW_TO_REACH = "; it listens on the head's loopback: `ssh -L 8265:127.0.0.1:8265 HEAD` brings it here"
_OPEN = (
    "Ray at {} answers without a token, so that whoever reaches it runs code on it: start its nodes "
    "with RAY_AUTH_MODE=token (see cluster/README.md), or say --insecure (or DMLRAY_INSECURE=1)"
)
_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

# In a process of its own, since authentication is a setting of the whole process, and Ray tries again for minutes.
_PROBE = """
import sys
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
address = canonicalize_bootstrap_address_or_die(sys.argv[1])
print(address, flush=True)
try:
    GcsClient(address=address).internal_kv_keys(b"", None, 5)
except AuthenticationError:
    print("closed")
else:
    print("open")
"""


def check_token(address: str, insecure: bool) -> str:
    """The HOST:PORT of the Ray at ``address`` ("auto" too), which asks for a token, or may do without as ``insecure``.

    Where it asks, this process shows the token that it has from now on. Raises UnavailableError when no Ray answers
    within 25 s, when it asks for no token, or for another one than is here, if any is; UsageError for a ray:// address.
    """
    if address.startswith("ray://"):
        raise UsageError(f"--address takes HOST:PORT of Ray's head, or auto on the head itself, got {address}")
    without = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    found, is_open = _probe(address, without | {"RAY_AUTH_MODE": "disabled"})
    if is_open and not insecure:
        raise UnavailableError(_OPEN.format(found))
    if not is_open:
        if not _has_token():
            raise UnavailableError(f"Ray at {found} asks for a token and there is none here: {_GET_TOKEN}")
        if not _probe(found, dict(os.environ) | {"RAY_AUTH_MODE": "token"})[1]:
            raise UnavailableError(f"Ray at {found} refuses the token that is here: {_GET_TOKEN}")
        _show_token()
    return found


def _probe(address: str, environment: dict[str, str]) -> tuple[str, bool]:
    """The HOST:PORT of ``address``, and whether a process of ``environment`` is let in there."""
    command = [sys.executable, "-c", _PROBE, address]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"no Ray answers at {address} within {_PATIENCE_S:g} s") from error
    match done.stdout.split():
        case [found, ("open" | "closed") as word]:
            return found, word == "open"
    last = done.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
    raise UnavailableError(f"no Ray answers at {address}: {last[0].split(': ', 1)[-1]}")


def _has_token() -> bool:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(path).expanduser().is_file()


def _show_token() -> None:
    os.environ["RAY_AUTH_MODE"] = "token"
    if "ray" in sys.modules:  # it read its settings when it was imported
        from ray._raylet import Config  # type: ignore[attr-defined]  # its stubs leave it out

        Config.initialize("")


def check_dashboard(address: str, insecure: bool) -> None:
    """As `check_token`, for the HTTP ``address`` of a head's dashboard, such as http://127.0.0.1:8265.

    Raises UnavailableError when none answers within 10 s, when it asks for no token, or for another one than is here;
    UsageError for an address that is not HTTP.
    """
    if not address.startswith(("http://", "https://")):
        raise UsageError(f"--address takes the head's dashboard here, such as http://127.0.0.1:8265, got {address}")
    if _is_let_in(address, {}):
        if not insecure:
            raise UnavailableError(_OPEN.format(address))
        return
    if not _has_token():
        raise UnavailableError(f"Ray at {address} asks for a token and there is none here: {_GET_TOKEN}")
    _show_token()
    from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled

    if not _is_let_in(address, get_auth_headers_if_auth_enabled({})):
        raise UnavailableError(f"Ray at {address} refuses the token that is here: {_GET_TOKEN}")


def _is_let_in(address: str, headers: dict[str, str]) -> bool:
    request = urllib.request.Request(f"{address.rstrip('/')}/api/version", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_DASHBOARD_S) as answer:
            if b"ray_version" in answer.read(4096):
                return True
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return False
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UnavailableError(f"no dashboard of Ray answers at {address}: {reason}{_HOW_TO_REACH}") from error
    raise UnavailableError(f"what answers at {address} is no dashboard of Ray{_HOW_TO_REACH}")
