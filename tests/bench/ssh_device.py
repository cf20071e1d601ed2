"""A "device" to reach over SSH: this machine with another home, behind a real server.

The system's sshd serves where there is one, else ``ssh_server.py``. Keys, configuration and known
hosts are made for the test; nothing of the user's is read or written.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
_PATIENCE_S = 20.0


def can_serve() -> bool:
    """Whether there is anything to serve with."""
    return _SSHD is not None or importlib.util.find_spec("asyncssh") is not None


@dataclass
class Device:
    """A server and what lies behind it; ``name`` is what the client calls it."""

    folder: Path
    name: str = "device"
    port: int = 0
    _server: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def bin(self) -> Path:
        """First in the device's PATH."""
        return self.folder / "bin"

    @property
    def config(self) -> Path:
        """For ``ssh -F``."""
        return self.folder / "ssh_config"

    def set_up(self) -> None:
        """Make keys, configuration and an empty home; does not start the server."""
        for path in (self.home, self.bin):
            path.mkdir(parents=True)
        for name in ("host_key", "client_key", "other_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name]
            subprocess.run(command, check=True)
        shutil.copyfile(self.folder / "client_key.pub", self.folder / "authorized_keys")
        self.port = _free_port()
        public = (self.folder / "host_key.pub").read_text().split()
        self.trust(f"{public[0]} {public[1]}")
        self.configure()

    def trust(self, host_key: str) -> None:
        """Make the client expect this key."""
        line = f"[127.0.0.1]:{self.port} {host_key}\n"
        (self.folder / "known_hosts").write_text(line)

    def configure(self, key: str = "client_key", port: int | None = None) -> None:
        """Write the client's configuration."""
        self.config.write_text(
            f"Host {self.name}\n"
            f"  HostName 127.0.0.1\n  Port {port or self.port}\n"
            f'  IdentityFile "{self.folder / key}"\n'
            f'  UserKnownHostsFile "{self.folder / "known_hosts"}"\n'
            "  IdentitiesOnly yes\n  IdentityAgent none\n  StrictHostKeyChecking yes\n"
            "  PreferredAuthentications publickey\n  GlobalKnownHostsFile /dev/null\n"
        )

    def start(self) -> None:
        """Start the server, on the same port each time."""
        command = self._sshd() or [sys.executable, _script(), self.folder, self.port]
        self._server = subprocess.Popen(
            [str(word) for word in command], start_new_session=True, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _PATIENCE_S
        while not _answers(self.port):
            assert self._server.poll() is None, "the SSH server ended"
            assert time.monotonic() < deadline, "the SSH server does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server and every connection; what was detached lives on."""
        if self._server is not None:
            pid = self._server.pid
            # sshd gives each connection a process of its own, which outlives it.
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for process in (pid, *map(int, children)):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)
            self._server.wait(_PATIENCE_S)
            self._server = None

    def program(self, name: str, body: str) -> None:
        """Put a shell script into the device's PATH."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def _sshd(self) -> list[object] | None:
        """The system's server; None: there is none, or it will not serve this user."""
        if _SSHD is None:
            return None
        config = self.folder / "sshd_config"
        config.write_text(
            f'Port {self.port}\nListenAddress 127.0.0.1\nHostKey "{self.folder / "host_key"}"\n'
            f'AuthorizedKeysFile "{self.folder / "authorized_keys"}"\nStrictModes no\n'
            f'SetEnv "HOME={self.home}" "PATH={self.bin}:{os.environ["PATH"]}"\n'
            "UsePAM no\nPidFile none\nPasswordAuthentication no\n"
        )
        checked = subprocess.run([_SSHD, "-t", "-f", config], capture_output=True, check=False)
        return None if checked.returncode else [_SSHD, "-D", "-f", config]


def _script() -> Path:
    return Path(__file__).with_name("ssh_server.py")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
