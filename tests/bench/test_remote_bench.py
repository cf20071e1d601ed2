"""`edgekd bench BUNDLE --ssh HOST` against a real SSH server, through everything that can go wrong.

The device is this machine with another home. In most tests a shell script stands in for edgekd
over there, so that a run lasts exactly as long as the test needs it to; one test measures for real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pytest
from bench.bundle_fixture import describe, write_bundle
from bench.conftest import TinyModels
from bench.report_fixture import build_run
from bench.ssh_device import Device, can_serve

from edgekd_bench.errors import InputError
from edgekd_bench.record import read_record
from edgekd_bench.remote.bench import RemoteOptions, RemoteResult, run
from edgekd_bench.remote.ssh import SshHost

pytestmark = [
    pytest.mark.skipif(
        shutil.which("ssh") is None or shutil.which("ssh-keygen") is None,
        reason="no OpenSSH client",
    ),
    pytest.mark.skipif(not can_serve(), reason="neither sshd nor asyncssh to connect to"),
]
_PATIENCE_S = 30.0

# What stands in for edgekd: it counts its runs, waits while HOME/hold is there, leaves a record.
_STAND_IN = f"""
if [ "$1" = --version ]; then echo "edgekd {version("edgekd")}"; exit; fi
echo "$@" >> "$HOME/runs"
pwd > "$HOME/where"
echo "stage one" >&2
while [ -e "$HOME/hold" ]; do sleep 0.05; done
echo "stage two" >&2
[ ! -e "$HOME/message" ] || cat "$HOME/message" >&2
[ ! -d "$HOME/answer" ] || cp "$HOME/answer"/*.json "$4"
exit "$(cat "$HOME/code")"
"""


@dataclass
class Bench:
    """A device with a stand-in, a bundle, and what was said so far."""

    device: Device
    bundle: Path
    out: Path
    said: list[str] = field(default_factory=list)

    def run(self, *arguments: str, **options: object) -> RemoteResult:
        """Measure remotely, without patience for broken connections."""
        host = SshHost(self.device.name, self.device.config)
        chosen = RemoteOptions(host, **{"reconnect_after_s": (), **options})  # type: ignore[arg-type]
        return run(
            self.bundle, options=chosen, arguments=arguments, out=self.out, say=self.said.append
        )

    def hold(self) -> None:
        (self.device.home / "hold").touch()

    def release(self) -> None:
        (self.device.home / "hold").unlink()

    @property
    def runs(self) -> list[str]:
        """Arguments of each run there was."""
        path = self.device.home / "runs"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def place(self) -> Path:
        """The workplace over there."""
        return self.device.home / ".cache/edgekd/remote/ours"

    def heard(self, text: str) -> bool:
        return any(text in line for line in self.said)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    device = Device(tmp_path_factory.mktemp("ssh") / "a device")
    device.set_up()
    device.start()
    yield device
    device.stop()


@pytest.fixture
def bench(server: Device, tmp_path: Path) -> Iterator[Bench]:
    """A fresh home on the device, a fresh bundle here; the stand-in does not mind its network."""
    for folder in (server.home, server.bin):
        shutil.rmtree(folder)
        folder.mkdir()
    server.program("edgekd", _STAND_IN)
    (server.home / "code").write_text("0")
    build_run(server.home / "answer")
    server.configure()
    network = tmp_path / "network.onnx"
    network.write_bytes(bytes(range(256)) * 20)
    bundle = write_bundle(tmp_path / "ours.bundle", network)
    yield Bench(server, bundle, tmp_path / "out")
    (server.home / "hold").unlink(missing_ok=True)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_the_record_comes_back_and_nothing_is_left(bench: Bench) -> None:
    result = bench.run("--threads=2")
    assert result.code == 0
    assert result.record == read_record(bench.out / "results.json")
    assert (bench.out / "predictions.json").is_file()
    assert bench.said[-2:] == ["stage one", "stage two"]
    words = bench.runs[0].split()
    assert (words[:2], words[4:]) == (["bench", "ours.bundle"], ["--threads=2", "--json"])
    assert list((bench.place / "jobs").iterdir()) == []
    for path in bench.bundle.rglob("*"):
        there = bench.place / "ours.bundle" / path.relative_to(bench.bundle)
        assert there.is_dir() or there.read_bytes() == path.read_bytes()


def test_only_what_changed_is_sent_again(bench: Bench) -> None:
    bench.run()
    bench.run()
    assert bench.said[-4] == "device has the bundle already"
    engine = bench.place / "ours.bundle/engines/ours.fp32.engine"
    engine.parent.mkdir()
    engine.write_bytes(b"built over there")
    damaged = bench.place / "ours.bundle/models/ours.fp32.onnx"
    damaged.write_bytes(damaged.read_bytes()[:1000])  # as a copy that broke off leaves it
    bench.run()
    assert bench.heard("sending 1 files")
    assert damaged.read_bytes() == (bench.bundle / "models/ours.fp32.onnx").read_bytes()
    (bench.bundle / "ours.npz").write_bytes(b"another answer")
    describe(bench.bundle)
    bench.run()
    assert bench.heard("sending 2 files")  # it and the description
    assert engine.read_bytes() == b"built over there"


def test_a_lost_connection_loses_nothing(bench: Bench) -> None:
    """The connection breaks in the middle; the run ends alone; the command is repeated."""
    bench.hold()
    failures: list[Exception] = []

    def first() -> None:
        try:
            bench.run()
        except InputError as error:
            failures.append(error)

    watcher = threading.Thread(target=first)
    watcher.start()
    _wait_for(lambda: bench.heard("stage one"))
    bench.device.stop()
    watcher.join(_PATIENCE_S)
    assert "repeat the command" in str(failures[0])
    assert not bench.out.exists()
    bench.release()
    _wait_for(lambda: bool(list(bench.place.glob("jobs/*/status"))))
    bench.device.start()
    result = bench.run()
    assert bench.heard("has ended; fetching its result")
    assert result.record is not None
    assert len(bench.runs) == 1  # it was measured once


def test_a_repeated_command_follows_the_run_that_goes_on(bench: Bench) -> None:
    bench.hold()
    bench.device.stop()
    bench.device.start()
    with pytest.raises(InputError, match="repeat the command"):
        _run_and_break(bench)
    second: list[RemoteResult] = []
    watcher = threading.Thread(target=lambda: second.append(bench.run()))
    watcher.start()
    _wait_for(lambda: bench.heard("goes on on device; following it"))
    bench.release()
    watcher.join(_PATIENCE_S)
    assert second[0].record is not None
    assert bench.said.count("stage two") == 1
    assert len(bench.runs) == 1


def _run_and_break(bench: Bench) -> None:
    """Break the connection as soon as the run has said something; the server comes back."""

    def cut() -> None:
        _wait_for(lambda: bench.heard("stage one"))
        bench.device.stop()
        bench.device.start()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        bench.run()
    finally:
        cutter.join()


def test_a_short_break_is_bridged_without_the_user(bench: Bench) -> None:
    bench.hold()

    def break_then_release() -> None:
        _wait_for(lambda: bench.heard("stage one"))
        bench.device.stop()
        bench.device.start()
        bench.release()

    helper = threading.Thread(target=break_then_release)
    helper.start()
    result = bench.run(reconnect_after_s=(0.5, 1.0, 2.0, 5.0))
    helper.join()
    assert result.record is not None
    assert bench.heard("Connecting again")
    assert [bench.said.count(line) for line in ("stage one", "stage two")] == [1, 1]


def test_a_failed_gate_keeps_its_exit_code_and_its_record(bench: Bench) -> None:
    (bench.device.home / "code").write_text("1")
    (bench.device.home / "message").write_text("gate failed: latency_p90_ms 9 > 8\n")
    result = bench.run()
    assert (result.code, result.failure) == (1, "gate failed: latency_p90_ms 9 > 8")
    assert result.record is not None


def test_a_failure_before_the_record_is_told_and_not_remembered(bench: Bench) -> None:
    shutil.rmtree(bench.device.home / "answer")
    (bench.device.home / "code").write_text("2")
    (bench.device.home / "message").write_text("error: no provider\n")
    for _ in range(2):
        result = bench.run()
        assert (result.code, result.failure, result.record) == (2, "error: no provider", None)
    assert len(bench.runs) == 2
    assert not bench.heard("no provider")  # the result says it; once is enough
    assert not bench.out.exists()
    (bench.device.home / "message").unlink()
    (bench.device.home / "code").write_text("137")  # as after the kernel ended it
    failure = bench.run().failure
    assert failure == "edgekd ended there with exit code 137, after: stage two"


def test_a_run_that_was_killed_is_noticed(bench: Bench) -> None:
    bench.hold()

    def kill() -> None:
        _wait_for(lambda: bench.heard("stage one"))
        pid = next(bench.place.glob("jobs/*/pid")).read_text().strip()
        subprocess.run(["kill", "-9", "--", f"-{pid}"], check=True)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(InputError, match="ended without a result"):
        bench.run()
    killer.join()
    bench.release()
    assert bench.run().record is not None
    assert len(bench.runs) == 2


def test_two_runs_at_once_are_refused(bench: Bench) -> None:
    bench.hold()
    with pytest.raises(InputError, match="repeat the command"):
        _run_and_break(bench)
    with pytest.raises(InputError, match="another run is measuring there") as refusal:
        bench.run("--threads=1")
    other = bench.bundle.rename(bench.bundle.with_name("another.bundle"))
    bench.bundle = other  # another bundle would be disturbed just as well
    with pytest.raises(InputError, match="another run is measuring there"):
        bench.run()
    advice = str(refusal.value).partition("over there with: ")[2]
    environment = {"HOME": str(bench.device.home), "PATH": os.environ["PATH"]}
    subprocess.run(["sh", "-c", advice], env=environment, check=True)
    bench.release()
    bench.bundle = other.rename(other.with_name("ours.bundle"))
    assert bench.run().record is not None  # the advice stopped it: this is a new one
    assert len(bench.runs) == 2


def test_names_are_never_run(bench: Bench, tmp_path: Path) -> None:
    trap = tmp_path / "trapped"
    evil = bench.bundle.rename(bench.bundle.with_name(f"it's $(touch {trap.name}) `x` & y.bundle"))
    bench.bundle = evil
    folder = '~/a "b" $HOME;exit 1'
    result = bench.run(f"--fail-if=$(touch {trap})", "--x=';'", folder=folder)
    assert result.code == 0
    there = bench.device.home / folder[2:]
    assert (there / evil.stem / evil.name / "bundle.json").is_file()
    assert f"--fail-if=$(touch {trap}) --x=';'" in bench.runs[0]
    assert not list(tmp_path.rglob("trapped"))
    assert not list(bench.device.home.rglob("trapped"))


def test_edgekd_that_is_not_there(bench: Bench) -> None:
    (bench.device.bin / "edgekd").unlink()
    with pytest.raises(InputError, match=r"no program 'edgekd'.*pip install edgekd"):
        bench.run(edgekd="edgekd-of-nobody") if shutil.which("edgekd") else bench.run()


def test_edgekd_in_a_venv_and_of_another_version(bench: Bench) -> None:
    venv = bench.device.home / "my venv/bin"
    venv.mkdir(parents=True)
    program = bench.device.bin / "edgekd"
    program.write_text(program.read_text().replace(version("edgekd"), "99.1"))
    program.rename(venv / "edgekd")
    assert bench.run(edgekd="~/my venv/bin/edgekd").code == 0
    assert bench.heard("note: edgekd 99.1 on device")


def test_no_space_is_known_before_and_noticed_while_copying(bench: Bench) -> None:
    bench.device.program("df", "echo; echo /dev/x 100 90 20 90% /")
    with pytest.raises(InputError, match=r"0\.0 MB free, .* needed"):
        bench.run()
    (bench.device.bin / "df").unlink()
    full = "cat > /dev/null; echo 'tar: ours.npz: Cannot write: No space left on device' >&2"
    bench.device.program("tar", f"{full}; echo 'tar: Exiting with failure status' >&2; exit 2")
    with pytest.raises(InputError, match=r"device: .*No space left on device; see --remote-dir"):
        bench.run()
    assert bench.runs == []


def test_a_place_that_cannot_be_written(bench: Bench) -> None:
    (bench.device.home / "file").touch()
    with pytest.raises(InputError, match=r"device: .*Not a directory; see --remote-dir"):
        bench.run(folder="~/file")


def test_nobody_answers(bench: Bench) -> None:
    bench.device.configure(port=1)
    with pytest.raises(InputError, match=r"device: .*Connection refused; check the network"):
        bench.run()


def test_the_wrong_key_is_not_let_in(bench: Bench) -> None:
    bench.device.configure(key="other_key")
    with pytest.raises(InputError, match=r"Permission denied.*check user and key"):
        bench.run()


def test_another_host_key_is_not_trusted(bench: Bench) -> None:
    known = bench.device.folder / "known_hosts"
    right = known.read_text()
    try:
        other = (bench.device.folder / "other_key.pub").read_text().split()
        bench.device.trust(f"{other[0]} {other[1]}")
        with pytest.raises(InputError, match="Host key verification failed; connect once"):
            bench.run()
    finally:
        known.write_text(right)


@pytest.mark.parametrize("name", ["-oProxyCommand=touch x", "", "two words", "line\nbreak"])
def test_names_that_are_no_hosts(name: str) -> None:
    with pytest.raises(InputError, match="not a host"):
        SshHost(name)


@pytest.mark.parametrize("folder", ["-rf", "~somebody/x", "", "a\nb"])
def test_paths_that_are_no_paths(bench: Bench, folder: str) -> None:
    with pytest.raises(InputError, match=r"path on the device|only ~/"):
        bench.run(edgekd=folder)


def test_without_a_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="install OpenSSH"):
        SshHost("device")


def _command(bench: Bench, *arguments: object) -> subprocess.CompletedProcess[str]:
    line = ["bench", bench.bundle, "--ssh", "device", "--ssh-config", bench.device.config]
    line += ["--out", bench.out, *arguments]
    code = "from edgekd.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *(str(word) for word in line)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_real_edgekd_over_there(bench: Bench, tiny_models: TinyModels) -> None:
    shutil.rmtree(bench.bundle)
    write_bundle(bench.bundle, tiny_models.onnx)
    code = "from edgekd.cli import main; main()"
    bench.device.program("edgekd", f'exec {sys.executable} -c "{code}" "$@"')
    quick = ("--min-seconds", 0, "--min-count", 8, "--warmup", 1, "--threads", 1)
    done = _command(bench, *quick, "--no-throughput", "--backend", "onnxruntime")
    assert done.returncode == 0, done.stderr
    record = read_record(bench.out / "results.json")
    assert {row.init for row in record.rows} == {"baseline", "distilled"}
    assert record.settings["threads"] == 1
    assert record.environment["device_name"]
    assert "ours.bundle" in record.command  # nothing of either machine's paths
    assert "latency on onnxruntime" in done.stderr  # what the device is at
    assert "ours.fp32.onnx" in done.stdout
    assert "measured on device" in done.stdout


def test_the_command_ends_as_it_ended_there(bench: Bench) -> None:
    (bench.device.home / "code").write_text("1")
    (bench.device.home / "message").write_text("gate failed: too slow\n")
    done = _command(bench, "--fail-if", "latency_p90_ms > 8", "--json")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "device: gate failed: too slow"
    assert done.stdout.startswith("{")
    assert "--fail-if=latency_p90_ms > 8 --json" in bench.runs[0]


def test_what_cannot_travel_is_refused(bench: Bench, tmp_path: Path) -> None:
    done = _command(bench, "--data", tmp_path / "data.yaml")
    assert done.returncode == 2
    assert "--data names a file here" in done.stderr
    bench.bundle = bench.bundle / "models/ours.fp32.onnx"
    done = _command(bench)
    assert done.returncode == 2
    assert "--ssh measures one bundle" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert bench.runs == []
