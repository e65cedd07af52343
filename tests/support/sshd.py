"""A real sshd on a test's loopback, for `-H ssh://…`: started by the test, in namespaces of its own, ended with it.

Its mount namespace has a /run/sshd and a user `sshd`, which it wants and an unpacked one does not find; logins are
root's, by a key made for the test. `ssh` is called through a wrapper that is first on PATH and only adds the key and
the host's identity, as a user's ~/.ssh would. See: sshd_config(5), ssh_config(5).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.netns import Netns
from tests.support.wait import eventually

TOP = Path(__file__).resolve().parents[2]
PORT = 2222
_IN_ITS_PLACE = """
mount -t tmpfs none /run && mkdir /run/sshd
cp /etc/passwd "$1/passwd" && echo 'sshd:x:123:65534::/run/sshd:/bin/false' >> "$1/passwd"
mount --bind "$1/passwd" /etc/passwd
exec "$2" -D -e -f "$1/sshd_config"
"""


def find_sshd() -> str | None:
    """Where an sshd is: installed, or unpacked by `make setup-test`."""
    return shutil.which("sshd", path=f"/usr/sbin:/usr/local/sbin:{TOP}/.cache/tools/bin")


def _key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@contextmanager
def serving(netns: Netns, folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """An sshd on 127.0.0.1:2222 of the namespace, whose commands get the environment; gives the folder of `ssh`."""
    for name in ("host", "user"):
        _key(folder / name)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    (folder / "known").write_text(f"[127.0.0.1]:{PORT} {(folder / 'host.pub').read_text()}")
    settings = " ".join(f'"{name}={value}"' for name, value in environment.items())
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{PORT}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\nSetEnv {settings}\n"
    )
    (folder / "bin").mkdir()
    wrapper = folder / "bin/ssh"
    options = f"-F none -i {folder}/user -o UserKnownHostsFile={folder}/known -o BatchMode=yes"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {options} "$@"\n')
    wrapper.chmod(0o755)
    sshd = find_sshd()
    assert sshd, "no sshd"
    log = folder / "log"
    with log.open("wb") as file:
        command = ["unshare", "-m", "sh", "-ec", _IN_ITS_PLACE, "sh", str(folder), sshd]
        process = netns.start(command, stdout=file, stderr=file)
    try:
        eventually(lambda: "listening on" in log.read_text(), f"sshd to listen; its log: {log.read_text()}")
        yield wrapper.parent
    finally:
        process.terminate()
        process.wait(20)
