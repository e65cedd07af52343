"""The nft program where it does not do what it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.linux import nft


def test_one_that_hangs_is_given_up_as_a_system_call_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes a container's ports down is prepared for an OSError; seen to fail with an error of another family."""
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(nft, "find", lambda: str(program))
    monkeypatch.setattr(nft, "PATIENCE", 0.1)
    with pytest.raises(TimeoutError, match="nft"):
        nft.load("")
