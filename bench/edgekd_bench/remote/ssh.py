"""Running shell scripts on another machine with the system's own SSH client.

OpenSSH's client, and not a library, because a user's jump hosts, agents, hardware keys and
``~/.ssh/config`` work there and nowhere else as completely. Host keys and passwords are its
business: nothing here weakens, answers or stores them.

What runs over there is POSIX ``sh``. Every value in a script must have gone through ``quoted`` or
``home_path``.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgekd_bench.errors import InputError

_SSH_FAILED = 255  # OpenSSH's own exit code; everything else is the remote script's
# So that a dead link is noticed within half a minute.
_OPTIONS = (
    "-T",
    *("-o", "ConnectTimeout=15"),
    *("-o", "ServerAliveInterval=10"),
    *("-o", "ServerAliveCountMax=3"),
)
_ADVICE = (
    ("Could not resolve", "check the name"),
    ("Permission denied", "check user and key: `ssh {host}` must work without a password"),
    ("Host key verification failed", "connect once with `ssh {host}` and look at its key"),
    ("REMOTE HOST IDENTIFICATION", "its key changed: make sure why, then correct known_hosts"),
)
quoted = shlex.quote


@dataclass(frozen=True)
class Answer:
    """What a script said and how it ended."""

    code: int
    out: str
    err: str


class ConnectionFailedError(InputError):
    """The machine could not be reached, or the connection broke."""


@dataclass(frozen=True)
class SshHost:
    """One machine, by the name the SSH client knows it under."""

    name: str
    config: Path | None = None  # instead of ~/.ssh/config

    def __post_init__(self) -> None:
        """Refuse names that the client would take for options, or that are no names.

        Raises:
            InputError: such a name, or there is no SSH client.
        """
        if not self.name or self.name.startswith("-") or any(c.isspace() for c in self.name):
            raise InputError(f"--ssh {self.name!r}: not a host; give user@host or a name of yours")
        if shutil.which("ssh") is None:
            raise InputError("--ssh needs the program ssh; install OpenSSH's client")

    def run(self, script: str, stdin: bytes = b"") -> Answer:
        """Run a script and take all it says.

        Raises:
            ConnectionFailedError: not reachable, not let in, or the connection broke.
        """
        return self.feed(script, lambda pipe: pipe.write(stdin))

    def feed(self, script: str, write: Callable[[IO[bytes]], object]) -> Answer:
        """Run a script whose input is written bit by bit.

        Args:
            script: POSIX sh.
            write: called with the script's standard input; closed afterwards.

        Raises:
            ConnectionFailedError: as for ``run``.
        """
        # Files and not pipes: a connection that the client shares keeps its pipes open.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with self._start(script, subprocess.PIPE, out, err) as process:
                assert process.stdin is not None
                try:
                    write(process.stdin)
                    process.stdin.close()
                except BrokenPipeError:
                    pass  # the other side has ended, and its exit code will say why
                code = process.wait()
            return self._checked(Answer(code, _text(out), _text(err)))

    def follow(self, script: str, on_line: Callable[[str], None]) -> Answer:
        """Run a script and hand on what it says, line by line, as it comes.

        Raises:
            ConnectionFailedError: as for ``run``.
        """
        with (
            tempfile.TemporaryFile() as err,
            self._start(script, subprocess.DEVNULL, subprocess.PIPE, err) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                on_line(line.decode("utf-8", "replace").rstrip("\n"))
            return self._checked(Answer(process.wait(), "", _text(err)))

    def fetch(self, script: str, target: IO[bytes]) -> Answer:
        """Run a script and write the bytes it puts out into a file.

        Raises:
            ConnectionFailedError: as for ``run``.
        """
        with tempfile.TemporaryFile() as err:
            with self._start(script, subprocess.DEVNULL, target, err) as process:
                code = process.wait()
            return self._checked(Answer(code, "", _text(err)))

    def _start(
        self, script: str, stdin: int, stdout: int | IO[bytes], stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._command(), f"exec sh -c {quoted(script)}"],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def _command(self) -> Sequence[str]:
        config = () if self.config is None else ("-F", str(self.config))
        return ["ssh", *_OPTIONS, *config, "--", self.name]

    def _checked(self, answer: Answer) -> Answer:
        if answer.code != _SSH_FAILED:
            return answer
        advice = next((advice for cause, advice in _ADVICE if cause in answer.err), None)
        hint = "check the network and the name" if advice is None else advice
        raise ConnectionFailedError(
            f"{self.name}: {last_line(answer.err).rstrip('.')}; {hint.format(host=self.name)}"
        )


def home_path(path: str) -> str:
    """A remote path, quoted for a script; ``~/`` at its start is the user's home over there.

    Raises:
        InputError: empty, an option, or with a line break.
    """
    if not path or path.startswith("-") or "\n" in path:
        raise InputError(f"{path!r}: not a path on the device")
    if path.startswith("~/"):
        return '"$HOME"/' + quoted(path[2:])
    if path.startswith("~"):
        raise InputError(
            f"{path!r}: only ~/ can stand for a home on the device; give the whole path"
        )
    return quoted(path)


def last_line(text: str) -> str:
    """The last line that says something: where programs put their cause."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "replace")
