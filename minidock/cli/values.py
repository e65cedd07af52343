"""What the values of `run`'s flags mean: -v, --mount, --tmpfs, -e, --env-file, --ulimit, --cpus and their like.

For options.py, which builds the create body from them. Each function takes the text that the user wrote and gives a
piece of Docker's API; what does not parse is InvalidArgument, which the caller turns into docker's line about the flag.
What only the daemon can judge (does the path exist, is the limit possible) is left to it.
"""

from __future__ import annotations

import json
import os
import re
from _socket import AF_INET, AF_INET6, inet_pton
from collections.abc import Callable, Iterator
from typing import Any

from minidock.wire.errors import InvalidArgument
from minidock.wire.units import parse_bytes

Json = dict[str, Any]

_ULIMITS = frozenset(
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_PROPAGATIONS = frozenset(("private", "rprivate", "slave", "rslave", "shared", "rshared"))
_DEVICE_RULE = r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}"
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True", ""))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


# -- environment and labels --------------------------------------------------------------------------------------------


def variable(text: str) -> str:
    """``A=b``; a bare ``A`` takes the caller's value, and stays bare where the caller has none (Docker unsets it)."""
    name, equals, _ = text.partition("=")
    if not name:
        raise InvalidArgument(f"invalid environment variable: {text}")
    return text if equals or name not in os.environ else f"{name}={os.environ[name]}"


def label(text: str) -> tuple[str, str]:
    """``key=text``, or ``key`` for an empty one."""
    name, _, wanted = text.partition("=")
    if not name:
        raise InvalidArgument(f"invalid label {text!r}: empty name")
    return name, wanted


def file_lines(kind: str, path: str) -> Iterator[str]:
    """The entries of an --env-file or --label-file: one a line, without comments. Raises InvalidArgument."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().removeprefix("\ufeff").split("\n")  # splitlines() knows more ends than docker does
    except OSError as error:
        raise InvalidArgument(f"open {path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"invalid {kind} file ({path}): it is not UTF-8") from None
    for line in lines:
        entry = line.lstrip()
        if not entry or entry.startswith("#"):
            continue
        name = entry.partition("=")[0]
        if not name:
            raise InvalidArgument(f"invalid {kind} file ({path}): no variable name on line '{entry}'")
        if any(letter.isspace() for letter in name):
            raise InvalidArgument(f"invalid {kind} file ({path}): variable '{name}' contains whitespaces")
        yield entry


# -- mounts ------------------------------------------------------------------------------------------------------------


def bind(text: str) -> str | None:
    """``-v``: an entry for Binds, or None if it is only a path in the container (an anonymous volume)."""
    source, colon, rest = text.partition(":")
    if not colon:
        return None
    if source == "." or source == ".." or source.startswith(("./", "../")):
        source = os.path.abspath(source)
    return f"{source}:{rest}"


def tmpfs(text: str) -> tuple[str, str]:
    """``--tmpfs /path[:options]``."""
    path, _, options = text.partition(":")
    return path, options


def mount(text: str) -> Json:
    """``--mount type=bind,source=/a,target=/b,readonly``: an entry for Mounts."""
    found: Json = {"Type": "volume"}
    for part in _fields(text):
        name, equals, wanted = part.partition("=")
        name = name.strip().lower()
        if not equals and name not in ("readonly", "ro", "volume-nocopy", "bind-nonrecursive"):
            raise InvalidArgument(f"invalid field '{part}' must be a key=value pair")
        setter = _MOUNT_KEYS.get(name)
        if setter is None:
            raise InvalidArgument(f"unexpected key '{name}' in '{part}'")
        setter(found, wanted)
    return _checked_mount(found)


def _fields(text: str) -> list[str]:
    """The comma-separated parts; double quotes keep a comma, as in CSV, which docker takes it for."""
    parts, quoted = [""], False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _checked_mount(found: Json) -> Json:
    kind = found["Type"]
    if "Target" not in found:
        raise InvalidArgument("target is required")
    for other in ("bind", "volume", "tmpfs"):
        if f"{other.title()}Options" in found and kind != other:
            raise InvalidArgument(f"cannot mix '{other}-*' options with mount type '{kind}'")
    if kind == "bind" and not found.get("Source"):
        raise InvalidArgument("source is required for a mount of type bind")
    if kind == "tmpfs" and found.get("Source"):
        raise InvalidArgument("source does not go with a mount of type tmpfs")
    return found


def _text(key: str, *path: str) -> Callable[[Json, str], None]:
    def setter(found: Json, wanted: str) -> None:
        _inner(found, path)[key] = wanted

    return setter


def _switch(key: str, *path: str) -> Callable[[Json, str], None]:
    def setter(found: Json, wanted: str) -> None:
        _inner(found, path)[key] = boolean(wanted)

    return setter


def _inner(found: Json, path: tuple[str, ...]) -> Json:
    for name in path:
        found = found.setdefault(name, {})
    return found


def _type(found: Json, wanted: str) -> None:
    if wanted.lower() not in ("bind", "volume", "tmpfs"):
        raise InvalidArgument(f"mount type {wanted!r} is not supported", "give bind, volume or tmpfs")
    found["Type"] = wanted.lower()


def _source(found: Json, wanted: str) -> None:
    relative = wanted == "." or wanted.startswith(("./", "../"))
    found["Source"] = os.path.abspath(wanted) if relative else wanted


def _propagation(found: Json, wanted: str) -> None:
    if wanted not in _PROPAGATIONS:
        raise InvalidArgument(f"invalid propagation {wanted!r}", f"give one of {', '.join(sorted(_PROPAGATIONS))}")
    _inner(found, ("BindOptions",))["Propagation"] = wanted


def _volume_label(found: Json, wanted: str) -> None:
    name, text = label(wanted)
    _inner(found, ("VolumeOptions", "Labels"))[name] = text


def _volume_option(found: Json, wanted: str) -> None:
    name, text = label(wanted)
    _inner(found, ("VolumeOptions", "DriverConfig", "Options"))[name] = text


def _tmpfs_size(found: Json, wanted: str) -> None:
    _inner(found, ("TmpfsOptions",))["SizeBytes"] = parse_bytes(wanted)


def _tmpfs_mode(found: Json, wanted: str) -> None:
    try:
        _inner(found, ("TmpfsOptions",))["Mode"] = int(wanted, 8)
    except ValueError:
        raise InvalidArgument(f"invalid tmpfs-mode {wanted!r}", "give octal digits, such as 1777") from None


_MOUNT_KEYS: dict[str, Callable[[Json, str], None]] = {
    "type": _type,
    "source": _source,
    "src": _source,
    "target": _text("Target"),
    "dst": _text("Target"),
    "destination": _text("Target"),
    "readonly": _switch("ReadOnly"),
    "ro": _switch("ReadOnly"),
    "consistency": _text("Consistency"),
    "bind-propagation": _propagation,
    "bind-nonrecursive": _switch("NonRecursive", "BindOptions"),
    "volume-nocopy": _switch("NoCopy", "VolumeOptions"),
    "volume-subpath": _text("Subpath", "VolumeOptions"),
    "volume-label": _volume_label,
    "volume-driver": _text("Name", "VolumeOptions", "DriverConfig"),
    "volume-opt": _volume_option,
    "tmpfs-size": _tmpfs_size,
    "tmpfs-mode": _tmpfs_mode,
}


# -- restart policy ----------------------------------------------------------------------------------------------------


def restart_policy(text: str) -> Json:
    """``no``, ``always``, ``unless-stopped``, ``on-failure`` or ``on-failure:5``; the daemon knows the names."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise InvalidArgument("invalid restart policy format: no policy provided before colon")
    if colon and not (count.isascii() and count.isdigit()):
        raise InvalidArgument("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name or "no", "MaximumRetryCount": int(count) if colon else 0}


# -- limits, rights, names ---------------------------------------------------------------------------------------------


def boolean(text: str) -> bool:
    """As Go reads one; an empty text is true, as for a key without a value."""
    if text not in _TRUE | _FALSE:
        raise InvalidArgument(f"invalid value: {text!r}", "give true or false")
    return text in _TRUE


def integer(text: str) -> int:
    try:
        return int(text, 10)
    except ValueError:
        raise InvalidArgument(f"invalid number: {text!r}") from None


def duration(text: str) -> int:
    """``1m30s`` → nanoseconds. Imported when asked for: it takes longer than all other flags together."""
    from minidock.wire.times import parse_duration

    return parse_duration(text)


def cpus(text: str) -> int:
    """``1.5`` → nano CPUs."""
    try:
        amount = float(text)
    except ValueError:
        raise InvalidArgument(f"failed to parse {text} as a number of CPUs", "give a number such as 1.5") from None
    if not 0 <= amount < 1e9 or (0 < amount < 1e-9):
        raise InvalidArgument(f"number of CPUs out of range: {text}")
    return round(amount * 1e9)


def memory_or_unlimited(text: str) -> int:
    """A size, or -1 for no limit."""
    return -1 if text == "-1" else parse_bytes(text)


def hugetlb_limit(text: str) -> Json:
    """``2MB=64m``: an entry for HugepageLimits; the daemon knows which sizes there are."""
    size, equals, most = text.partition("=")
    if not equals:
        raise InvalidArgument(f"bad format: {text}", "give SIZE=BYTES, such as 2MB=64m")
    return {"PageSize": size, "Limit": memory_or_unlimited(most)}


def ulimit(text: str) -> Json:
    """``nofile=1024:2048``, or one number for both; -1 is unlimited."""
    name, equals, limits = text.partition("=")
    soft_text, colon, hard_text = limits.partition(":")
    if not equals or not soft_text:
        raise InvalidArgument(f"invalid ulimit argument: {text}", "give TYPE=SOFT[:HARD], such as nofile=1024:2048")
    if name not in _ULIMITS:
        raise InvalidArgument(f"invalid ulimit type: {name}", f"known: {', '.join(sorted(_ULIMITS))}")
    soft = integer(soft_text)
    hard = integer(hard_text) if colon else soft
    if hard != -1 and (soft > hard or soft == -1):
        raise InvalidArgument(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Soft": soft, "Hard": hard}


def capability(text: str) -> str:
    """``sys_admin`` → ``CAP_SYS_ADMIN``; ``ALL`` stays."""
    name = text.strip().upper()
    return name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"


def device(text: str) -> Json:
    """``/dev/fuse``, ``/dev/sda:/dev/xvda:r``: an entry for Devices."""
    from minidock.wire.devices import parse_device  # dataclasses, for those who need them

    found = parse_device(text)
    return {"PathOnHost": found.source, "PathInContainer": found.target, "CgroupPermissions": found.access}


def rate(text: str, parse: Callable[[str], int] = integer) -> Json:
    """``/dev/sda:1000``: an entry for BlkioDeviceReadIOps and its like."""
    path, colon, amount = text.rpartition(":")
    if not colon or not path.startswith("/dev/"):
        raise InvalidArgument(f"bad format: {text}", "give PATH:RATE, such as /dev/sda:1000")
    found = parse(amount)
    if found < 0:
        raise InvalidArgument(f"invalid rate for device: {text}")
    return {"Path": path, "Rate": found}


def weight(text: str) -> Json:
    """``/dev/sda:300``: an entry for BlkioWeightDevice."""
    path, colon, amount = text.rpartition(":")
    if not colon or not path.startswith("/dev/"):
        raise InvalidArgument(f"bad format: {text}", "give PATH:WEIGHT, such as /dev/sda:300")
    found = integer(amount)
    if found and not 10 <= found <= 1000:
        raise InvalidArgument(f"invalid weight for device: {text}", "10 to 1000")
    return {"Path": path, "Weight": found}


def rate_in_bytes(text: str) -> Json:
    """``/dev/sda:1mb``: the same in bytes a second."""
    return rate(text, parse_bytes)


def device_rule(text: str) -> str:
    """``c 188:* rwm``, in docker's words where it is not; the daemon judges the numbers."""
    if not re.fullmatch(_DEVICE_RULE, text):
        raise InvalidArgument(f"invalid device cgroup format '{text}'", 'write TYPE MAJOR:MINOR ACCESS, "c 188:* rwm"')
    return text


def security_option(text: str) -> str:
    """``seccomp=FILE`` carries the file's content to the daemon, which may be unable to read it itself."""
    name, equals, wanted = text.partition("=")
    if not equals and name not in ("no-new-privileges", "disable") and ":" not in name:
        raise InvalidArgument(f"invalid --security-opt: {text!r}", "give no-new-privileges or seccomp=PROFILE")
    if name != "seccomp" or wanted in ("unconfined", "builtin"):
        return text
    try:
        with open(wanted, encoding="utf-8") as file:
            return "seccomp=" + json.dumps(json.load(file), separators=(",", ":"))
    except OSError as error:
        raise InvalidArgument(f"opening seccomp profile ({wanted}): {(error.strerror or '').lower()}") from None
    except ValueError as error:
        raise InvalidArgument(f"seccomp profile ({wanted}) is no JSON: {error}") from None


def address(text: str) -> str:
    """An IPv4 or IPv6 address, as for --dns."""
    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
            return text
        except OSError:
            continue
    raise InvalidArgument(f"IP address is not correctly formatted: {text}")


def extra_host(text: str) -> str:
    """``name:address`` or ``name=address`` → the former; ``host-gateway`` is an address, too."""
    equals, colon = text.find("="), text.find(":")
    at = equals if equals >= 0 and (colon < 0 or equals < colon) else colon
    name, wanted = (text[:at], text[at + 1 :].removeprefix("[").removesuffix("]")) if at > 0 else ("", "")
    if not name or not wanted:
        raise InvalidArgument(f'bad format for add-host: "{text}"', "give NAME:ADDRESS")
    return f"{name}:{wanted if wanted == 'host-gateway' else address(wanted)}"


def network(text: str) -> str:
    """A network's name; `default` is the bridge."""
    return "default" if text in ("", "default") else text
