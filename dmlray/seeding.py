"""Seeds derived from words and numbers, the same on every machine and in every process."""

import hashlib


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts, e.g. ``derive_seed(sweep_seed, "sampler", trial_number)``.

    SHA-256 rather than ``hash()``, which Python salts per process.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def share(identifier: str, salt: str = "") -> float:
    """Where ``identifier`` falls in [0, 1): a split by hash that does not depend on order or on other identifiers."""
    digest = hashlib.sha256(f"{salt}\x1f{identifier}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
