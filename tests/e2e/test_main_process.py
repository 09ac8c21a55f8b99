"""The main process and its worker: who starts whom, who ends whom, and with what."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from fkproxy.systemd import LISTEN_VARIABLE
from tests.e2e.installed import manager
from tests.e2e.plane import until
from tests.e2e.processes import BINARY, Service, ask, clean_environment, free_port, service
from tests.e2e.weather import worker_of

PROVIDERS = (
    '[[providers]]\nname = "only"\nadapter = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodels = ["m-1"]\ncredentials = [{key = "k"}]\n'
)


CRASH_LOOP_S = 5.5
"""A worker that ends sooner after the one before is the last."""


def worker_after(running: Service, former: int) -> int:
    """The worker that came after that one, when it serves."""

    def serving() -> int:
        try:
            health = ask(f"{running.url}/health").json()
            return worker_of(running.pid) if health["pid"] == running.pid else 0
        except (OSError, subprocess.CalledProcessError):
            return 0

    return until(serving, lambda worker: worker not in (0, former))


def next_worker(running: Service, former: int) -> int | None:
    """Another one than that, as soon as it is there; None when the service has ended."""

    def look() -> int | None:
        if running._child.poll() is not None:
            return None
        with contextlib.suppress(AssertionError, subprocess.CalledProcessError):
            return worker_of(running.pid)
        return former

    return until(look, lambda found: found != former)


def test_the_next_worker_goes_on_with_the_settings_of_the_first(tmp_path: Path) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(PROVIDERS)
    with service(tmp_path, APP_PROVIDERS_FILE=str(file)) as running:
        first = worker_of(running.pid)
        file.write_text("this is being edited")
        os.kill(first, signal.SIGKILL)
        worker_after(running, first)
        assert [model["id"] for model in ask(f"{running.v1}/models").json()["data"]] == ["m-1"]
        # It still reads the file when it is asked to, and still refuses one that is wrong.
        lines = running.lines()
        assert [line["exit_code"] for line in lines if line.get("msg") == "the worker ended unexpectedly"] == [-signal.SIGKILL]
        assert len([line for line in lines if line.get("msg") == "listening"]) == 2
        assert [line["msg"] for line in lines if "of the start" in line.get("msg", "")], "and not in silence"


def test_the_next_worker_has_the_providers_file_that_was_reloaded(tmp_path: Path) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(PROVIDERS)
    with service(tmp_path, APP_PROVIDERS_FILE=str(file)) as running:
        first = worker_of(running.pid)
        file.write_text(PROVIDERS.replace("m-1", "m-2"))
        os.kill(first, signal.SIGKILL)
        worker_after(running, first)
        assert [model["id"] for model in ask(f"{running.v1}/models").json()["data"]] == ["m-2"]


def test_connections_wait_while_there_is_no_worker(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        first = worker_of(running.pid)
        os.kill(first, signal.SIGKILL)
        # Between one worker and the next the main process has the socket: this is not refused.
        assert ask(f"{running.url}/livez").status == 200
        assert worker_of(running.pid) != first


def test_one_worker_after_the_other_ends_and_the_service_gives_up(tmp_path: Path) -> None:
    running = Service(tmp_path, {})
    began = time.monotonic()
    first = worker_of(running.pid)
    os.kill(first, signal.SIGKILL)
    second = worker_after(running, first)
    os.kill(second, signal.SIGKILL)
    while following := next_worker(running, second):
        # A busy machine may have let that one live long enough. This one, before it serves, does not.
        assert time.monotonic() - began > CRASH_LOOP_S
        second = following
        os.kill(second, signal.SIGKILL)
    assert running.stop() == 1
    assert running.lines()[-1]["msg"] == "one worker after the other ends: the service gives up"


def test_a_worker_that_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    running = Service(tmp_path, {"APP_SERVER__DRAIN_TIMEOUT_SECS": "1"})
    worker = worker_of(running.pid)
    os.kill(worker, signal.SIGSTOP)
    assert running.stop() == 0
    assert not Path(f"/proc/{worker}").exists()
    assert running.lines()[-1]["msg"] == "the worker did not end in time and is killed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after_s", [0.1, 0.2, 0.3, 0.4])
def test_it_can_be_stopped_before_it_serves(tmp_path: Path, number: int, after_s: float) -> None:
    environment = {**clean_environment(), "APP_SERVER__PORT": str(free_port()), "APP_STORE__DIRECTORY": str(tmp_path)}
    child = subprocess.Popen([str(BINARY)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    time.sleep(after_s)
    # From a keyboard it comes to both.
    os.killpg(child.pid, number) if number == signal.SIGINT else child.send_signal(number)
    out, _ = child.communicate(timeout=60)
    # On a busy machine Python itself may not be up yet, and what it says of a keyboard's interrupt is its own.
    python_itself = number == signal.SIGINT and child.returncode == 1 and b"KeyboardInterrupt" in out and b"fkproxy" not in out
    assert python_itself or child.returncode in (0, 130, -number), out.decode()
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)


def ended(child: subprocess.Popen[bytes], timeout_s: float = 60.0) -> int:
    """Its exit code. Nobody of its group may be left."""
    code = child.wait(timeout_s)
    until(lambda: not Path(f"/proc/{child.pid}").exists())
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
    return code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_comes_as_soon_as_it_can_be_heard_is_obeyed(tmp_path: Path, number: int) -> None:
    environment = {**clean_environment(), "APP_SERVER__PORT": str(free_port()), "APP_STORE__DIRECTORY": str(tmp_path)}
    for _ in range(3):
        child = subprocess.Popen(
            [str(BINARY)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        status = Path(f"/proc/{child.pid}/status")
        until(lambda status=status: int(status.read_text().split("SigCgt:")[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1)
        child.send_signal(number)
        assert ended(child) in (0, 130, -number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after_s", [0.03, 0.25, 0.4])
def test_a_stop_while_a_worker_is_replaced_is_obeyed(tmp_path: Path, number: int, after_s: float) -> None:
    running = Service(tmp_path, {"APP_SERVER__LAME_DUCK_SECS": "0.5"})
    os.kill(worker_of(running.pid), signal.SIGKILL)
    time.sleep(after_s)
    os.kill(running.pid, number)
    assert ended(running._child) == 0
    assert "panicked" not in running.log.read_text()


def test_a_worker_that_hangs_before_it_serves_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    environment = {**clean_environment(), "APP_SERVER__PORT": str(free_port()), "APP_STORE__DIRECTORY": str(tmp_path)}
    child = subprocess.Popen([str(BINARY)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    until(lambda: subprocess.run(["pgrep", "-P", str(child.pid)], capture_output=True, check=False).stdout)
    os.kill(worker_of(child.pid), signal.SIGSTOP)
    child.send_signal(signal.SIGTERM)
    assert ended(child) == 0


def test_a_stop_while_the_first_start_waits_for_its_database_is_obeyed(tmp_path: Path) -> None:
    away = {"APP_STORE__URL": "postgresql://nobody:nothing@127.0.0.1:9/none", "APP_STORE__DIRECTORY": str(tmp_path)}
    environment = {**clean_environment(), "APP_SERVER__PORT": str(free_port()), **away}
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = subprocess.Popen([str(BINARY)], env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    until(lambda: b"the store cannot be used" in log.read_bytes())
    child.send_signal(signal.SIGTERM)
    assert ended(child) == 0


def test_a_worker_that_is_asked_again_and_again_to_end_lets_its_calls_end(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        worker = worker_of(running.pid)
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        body = {"model": "sandbox?chunks=10&delay_ms=100", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        reply = connection.getresponse()
        reply.read(20)
        for _ in range(4):
            os.kill(worker, signal.SIGINT)
            time.sleep(0.1)
        assert reply.read().endswith(b"data: [DONE]\n\n")
        connection.close()
        until(lambda: not Path(f"/proc/{worker}").exists())


def test_a_worker_whose_main_process_was_killed_does_not_outlive_the_time_for_calls(tmp_path: Path) -> None:
    running = Service(tmp_path, {"APP_SERVER__LAME_DUCK_SECS": "0", "APP_SERVER__DRAIN_TIMEOUT_SECS": "1"})
    worker = worker_of(running.pid)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    body = {"model": "sandbox?chunks=60&delay_ms=1000", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    with connection.getresponse() as reply:
        reply.read(20)
        os.kill(running.pid, signal.SIGKILL)
        running._child.wait()
        until(lambda: not Path(f"/proc/{worker}").exists())
        assert b'"service_unavailable"' in reply.read()
    connection.close()
    assert len(running.access_lines(1)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_call_that_takes_longer_than_a_stop_waits_is_told_and_written_down(number: int, tmp_path: Path) -> None:
    running = Service(tmp_path, {"APP_SERVER__DRAIN_TIMEOUT_SECS": "1"})
    connections = []
    for model, stream in (("sandbox?hang_after=3&chunks=9", True), ("sandbox?first_ms=600000", False)):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        connections.append(connection)
    streamed = connections[0].getresponse()
    streamed.read(20)
    until(lambda: ask(f"{running.url}/metrics").json()["requests_in_flight"], lambda calls: calls == 2)
    os.kill(running.pid, number)
    said = streamed.read()
    refused = connections[1].getresponse()
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    for connection in connections:
        connection.close()
    assert b'"service_unavailable"' in said
    assert ended(running._child) == 0
    lines = running.lines()
    assert [line["calls"] for line in lines if line.get("msg", "").startswith("calls under way are ended")] == [2]
    assert sorted(line["status"] for line in running.access_lines(2)) == [200, 503]
    assert not [line for line in lines if line.get("msg") == "the worker did not end in time and is killed"]


def test_a_second_interrupt_does_not_wait_for_calls(tmp_path: Path) -> None:
    running = Service(tmp_path, {"APP_SERVER__DRAIN_TIMEOUT_SECS": "600"})
    worker = worker_of(running.pid)
    status = Path(f"/proc/{worker}/status")
    os.kill(worker, signal.SIGSTOP)
    until(lambda: "State:\tT" in status.read_text())
    os.kill(running.pid, signal.SIGINT)
    # It has been heard when it is passed on, and two that come before that are one.
    until(lambda: int(status.read_text().split("ShdPnd:")[1].split()[0], 16) >> (signal.SIGINT - 1) & 1)
    os.kill(running.pid, signal.SIGINT)
    assert ended(running._child) == 0


@pytest.mark.parametrize("after_s", [0.0, 0.2])
def test_a_stop_while_another_version_starts_ends_both(tmp_path: Path, after_s: float) -> None:
    running = Service(tmp_path, {})
    os.kill(running.pid, signal.SIGHUP)
    time.sleep(after_s)
    os.kill(running.pid, signal.SIGTERM)
    assert ended(running._child) == 0


def test_who_leaves_starts_no_other_version(tmp_path: Path) -> None:
    with manager(tmp_path / "s") as told:
        running = Service(tmp_path, {"APP_SERVER__LAME_DUCK_SECS": "1", "NOTIFY_SOCKET": str(tmp_path / "s")})
        children, seen = Path(f"/proc/{running.pid}/task/{running.pid}/children"), {str(worker_of(running.pid))}
        os.kill(running.pid, signal.SIGTERM)
        until(lambda: any("STOPPING=1" in each for each in told))
        os.kill(running.pid, signal.SIGHUP)

        def over() -> bool:
            with contextlib.suppress(FileNotFoundError):
                seen.update(children.read_text().split())
            return running._child.poll() is not None

        until(over)
        assert len(seen) == 1
        assert ended(running._child) == 0
    assert "did not get ready" not in running.log.read_text()


def test_a_storm_of_signals_ends_nobody(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        worker = worker_of(running.pid)
        for _ in range(20_000):
            os.kill(running.pid, signal.SIGCHLD)
            os.kill(running.pid, signal.SIGWINCH)
        assert ask(f"{running.url}/health").json()["pid"] == running.pid
        assert worker_of(running.pid) == worker


def test_a_closed_output_is_nobodys_descriptor(tmp_path: Path) -> None:
    with service(tmp_path, before=("/bin/sh", "-c", 'exec "$0" >&-')) as running:
        first = worker_of(running.pid)
        os.kill(first, signal.SIGKILL)
        worker_after(running, first)
        assert (
            ask(f"{running.v1}/chat/completions", body={"model": "sandbox", "messages": [{"role": "user", "content": "x"}]}).status == 200
        )
        for pid in (running.pid, worker_of(running.pid)):
            assert Path(f"/proc/{pid}/fd/1").readlink() == Path("/dev/null")


@pytest.mark.parametrize(("most", "warned"), [(4096, False), (1024, True)])
def test_the_worker_has_all_descriptors_that_it_may_and_says_where_they_are_too_few(most: int, warned: bool, tmp_path: Path) -> None:
    with service(tmp_path, before=("prlimit", f"--nofile=512:{most}")) as running:
        assert resource.prlimit(worker_of(running.pid), resource.RLIMIT_NOFILE) == (most, most)
    told = [line.get("msg") for line in running.lines()]
    assert ("1024 descriptors are too few for 1000 streams: allow 2256 (LimitNOFILE=, ulimit -n)" in told) is warned


def test_a_hangup_of_the_whole_group_ends_no_worker(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        worker = worker_of(running.pid)
        os.kill(worker, signal.SIGHUP)
        assert ask(f"{running.url}/livez").status == 200
        assert worker_of(running.pid) == worker


def test_what_ends_before_it_serves_ends_as_it_would_alone(tmp_path: Path) -> None:
    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {**clean_environment(), "APP_STORE__DIRECTORY": str(tmp_path), **settings}
        return subprocess.run([str(BINARY), *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)

    helped = run("serve", "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "--env-file" in helped.stdout
    assert run("serve", "--nonsense").returncode == 2
    wrong = run(APP_SERVER__PORT="70000")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "APP_SERVER__PORT" in wrong.stderr
    passed = run(FKLLMPROXY_LISTEN_FD="987")
    assert passed.returncode == 1
    assert passed.stderr == "fkllmproxy: descriptor 987, which was passed as the listening socket, is no socket\n"


def test_a_socket_that_others_can_reach_is_not_served_without_a_key(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as passed:
        number = passed.fileno()
        environment = {**clean_environment(), "APP_STORE__DIRECTORY": str(tmp_path), LISTEN_VARIABLE: str(number)}
        done = subprocess.run([str(BINARY)], env=environment, pass_fds=[number], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "fkllmproxy: the listening socket: 0.0.0.0 can be reached from other machines and no key is required; "
        "set APP_AUTH__MASTER_KEY (16 characters or more), or listen on 127.0.0.1\n"
    )


def test_in_the_journal_it_says_so_too(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        own = Path(journal.name).stat()
        environment = {
            **clean_environment(),
            "APP_SERVER__PORT": "70000",
            "APP_STORE__DIRECTORY": str(tmp_path),
            "JOURNAL_STREAM": f"{own.st_dev}:{own.st_ino}",
        }
        assert subprocess.run([str(BINARY)], env=environment, stdout=journal, stderr=journal, timeout=60, check=False).returncode == 1
        journal.seek(0)
        priority, _, line = journal.read().partition(">")
    assert priority == "<2"
    assert json.loads(line)["msg"].startswith("not started: APP_SERVER__PORT")


def test_the_main_process_is_small(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        until(lambda: ask(f"{running.url}/health").json()["store"]["state"] == "open")
        own = Path(f"/proc/{running.pid}/maps").read_text()
        # What the service is made of is loaded by the worker alone.
        assert not [name for name in ("pydantic", "granian", "msgspec", "uvloop", "_ssl") if name in own]


def test_a_service_that_can_take_no_further_connection_is_alive(tmp_path: Path) -> None:
    of_process = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (of_process[1], of_process[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, of_process)
        told = stack.enter_context(manager(tmp_path / "s"))
        running = stack.enter_context(service(tmp_path, NOTIFY_SOCKET=str(tmp_path / "s"), WATCHDOG_USEC="3000000"))
        with ExitStack() as idle:
            for _ in range(4096):
                idle.enter_context(socket.create_connection(("127.0.0.1", running.port)))
            until(lambda: "WATCHDOG=1\nSTATUS=it takes no new connection" in told, bool)
            os.kill(worker_of(running.pid), signal.SIGSTOP)
            until(
                lambda: [line.get("msg") for line in running.lines()],
                lambda said: "the service did not answer its own health check" in said,
            )
            os.kill(worker_of(running.pid), signal.SIGCONT)
        until(lambda: ask(f"{running.url}/livez").status, (200).__eq__)
