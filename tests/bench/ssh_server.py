"""A real SSH server in Python, for machines without sshd: ``python ssh_server.py FOLDER PORT``.

It lets in whoever has the key in FOLDER/authorized_keys and runs commands with ``sh``, the device's
home as HOME. As sshd does, it hangs up on the processes of a connection that ends: only what was
properly detached lives on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh


async def serve(folder: Path, port: int) -> None:
    """Serve until SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    groups: set[int] = set()

    async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
        home = folder / "home"
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            *("-c", process.command or "true"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": str(home), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
            cwd=home,
            start_new_session=True,
        )
        groups.add(child.pid)
        inward = asyncio.create_task(_pump(process.stdin, child.stdin))
        try:
            await asyncio.gather(
                _pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr)
            )
            code = await child.wait()
            process.exit(code if code >= 0 else 128 - code)
        except (asyncssh.Error, OSError):
            pass  # the connection has ended
        finally:
            inward.cancel()
            groups.discard(child.pid)
            _hang_up(child.pid)

    await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[str(folder / "host_key")],
        authorized_client_keys=str(folder / "authorized_keys"),
        process_factory=run,
        encoding=None,
    )
    await stopped.wait()
    for group in groups:
        _hang_up(group)


async def _pump(source: Any, target: Any) -> None:
    """Copy until the source ends."""
    while data := await source.read(1 << 16):
        target.write(data)
        await target.drain()
    if hasattr(target, "close") and not hasattr(target, "channel"):
        target.close()  # the child's input; the channel closes when the process has exited


def _hang_up(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGHUP)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
