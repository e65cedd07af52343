"""Certificates for a test, made on the spot with the openssl program: an authority, and what it signs.

For the tests of TLS in all tiers. Keys are of an elliptic curve, since RSA keys take seconds on a slow machine.
See: openssl-req(1), openssl-x509(1).
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
SERVER_NAMES = "IP:127.0.0.1,DNS:localhost"


@dataclass(frozen=True)
class Certified:
    """A certificate, its key, and the authority that its owner trusts."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def flags(self) -> list[str]:
        """As docker, dockerd, minidock and minidockd take them."""
        named = (("cacert", self.authority), ("cert", self.certificate), ("key", self.key))
        return ["--tlsverify", *(f"--tls{name}={path}" for name, path in named)]


class Authority:
    """A self-signed authority in a folder of its own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder / name
        self._folder.mkdir(parents=True)
        self.certificate, self._key = self._folder / "ca.pem", self._folder / "ca-key.pem"
        _openssl(
            "req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}", "-out", self.certificate, "-keyout", self._key
        )

    def sign(self, name: str, days: int = 2, names: str = SERVER_NAMES) -> Certified:
        """A certificate for `name`; 0 `days`: one that has expired already (openssl 3.5 makes no negative ones)."""
        request, certificate, key = (self._folder / f"{name}{end}" for end in (".csr", ".pem", "-key.pem"))
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        _openssl("req", *_KEY, "-subj", f"/CN={name}", "-out", request, "-keyout", key)
        _openssl(
            *("x509", "-req", "-in", request, "-out", certificate, "-days", str(days), "-extfile", extensions),
            *("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"),
        )
        return Certified(self.certificate, certificate, key)


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
