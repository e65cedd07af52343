"""Build arguments: which ARG is seen where, and with which value.

An ARG before the first FROM counts in FROM lines; a stage that names it again, without a value, takes it over. Inside
a stage an ARG counts from its line on. What the user gives (--build-arg) goes before the default, ENV before both. The
proxies are arguments without any ARG; since they say nothing about the image, they are no part of the cache's key or
of the history unless an ARG names them. The platform's (TARGETARCH and its kind) are known without being given.

See: Dockerfile reference, "ARG", "Predefined ARGs"; moby builder/dockerfile/buildargs.go. Read next: settings.py.
"""

from __future__ import annotations

from collections.abc import Mapping

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
PREDEFINED = frozenset((*_PROXIES, *(name.upper() for name in _PROXIES)))


def platform_arguments(architecture: str, variant: str = "") -> dict[str, str]:
    """TARGETPLATFORM and its kind; where it is built is where it will run."""
    platform = f"linux/{architecture}" + (f"/{variant}" if variant else "")
    values = {"PLATFORM": platform, "OS": "linux", "ARCH": architecture, "VARIANT": variant}
    return {prefix + name: value for prefix in ("TARGET", "BUILD") for name, value in values.items()}


class Arguments:
    """``given``: what the user said; a None there means "whatever the default is"."""

    def __init__(self, given: Mapping[str, str | None], platform: Mapping[str, str]) -> None:
        self._given = dict(given)
        self._used: set[str] = set()
        self._global: dict[str, str] = dict(platform)
        self._declared: dict[str, str | None] = {}

    def declare_global(self, name: str, default: str | None) -> None:
        """ARG before the first FROM."""
        self._used.add(name)
        value = self._chosen(name, default)
        if value is not None:
            self._global[name] = value

    def of_from(self) -> dict[str, str]:
        """What FROM lines see."""
        return dict(self._global)

    def begin_stage(self) -> None:
        """A FROM: the arguments of the stage before are gone."""
        self._declared = {}

    def declare(self, name: str, default: str | None) -> None:
        """ARG in a stage."""
        self._used.add(name)
        self._declared[name] = self._chosen(name, self._global.get(name) if default is None else default)

    def _chosen(self, name: str, default: str | None) -> str | None:
        given = self._given.get(name)
        return default if given is None else given

    def visible(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Names and values that count now, beside the variables of ``environment``, which go before them."""
        found = {name: value for name in PREDEFINED if (value := self._given.get(name)) is not None}
        found |= {name: value for name, value in self._declared.items() if value is not None}
        return {name: value for name, value in sorted(found.items()) if name not in environment}

    def key(self, environment: Mapping[str, str]) -> list[str]:
        """Those of ``visible`` that the result may depend on, as a RUN's entry in the history begins with them."""
        return [
            f"{name}={value}"
            for name, value in self.visible(environment).items()
            if name in self._declared or name not in PREDEFINED
        ]

    def unused(self) -> list[str]:
        """What was given and no ARG asked for."""
        return sorted(name for name in self._given if name not in self._used and name not in PREDEFINED)
