#!/usr/bin/env python3
"""bootlab: boot a throw-away Debian with a real systemd (PID 1) and run acceptance tests in it.

Needs: Linux, root (or CAP_SYS_ADMIN), overlayfs, apt with a Debian mirror for the first `prepare`.
Does not need: systemd on the host, KVM, docker, network at test time (loopback only inside).

  bootlab.py prepare                          build the cached root tree (once, ~50 s)
  bootlab.py run --copy SRC:DST[:MODE] ... --script t.sh [--journal-out DIR]
  bootlab.py run --copy ... -- sh -c 'systemctl start x && systemctl is-active x'

As a library:  with Machine(copies=[("dist/x", "/usr/local/bin/x", 0o755)]) as m: m.run("systemctl start x")
The exit status of `run` is that of the command; 125 = the lab itself failed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUITE = os.environ.get("BOOTLAB_SUITE", "bookworm")
CACHE = Path(os.environ.get("BOOTLAB_CACHE", "/var/cache/bootlab"))
PACKAGES = ("systemd", "systemd-sysv", "systemd-container", "dbus", "python3", "jq", "curl", "ca-certificates", "procps", "iproute2")
TRIPLET = f"{os.uname().machine}-linux-gnu"
NICE = ["nice", "-n", os.environ.get("BOOTLAB_NICE", "0")]
CGROUPS = Path("/sys/fs/cgroup")


class LabError(RuntimeError):
    pass


def mirror() -> str:
    """The Debian archive that this host's own apt is set up with."""
    if named := os.environ.get("BOOTLAB_MIRROR"):
        return named
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for line in listed:
        uri, _, codename = line.partition(" ")
        if codename.strip() == SUITE:
            return uri.rstrip("/")
    raise LabError(f"apt knows no archive for {SUITE}: run apt-get update, or set BOOTLAB_MIRROR")


def root_tree() -> Path:
    key = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    return CACHE / f"{SUITE}-{key}"


def debootstrap_command(scratch: Path) -> list[str]:
    if found := shutil.which("debootstrap"):
        return [found]
    # Not installed: use the shell scripts out of the .deb, nothing is installed on the host.
    subprocess.run(["apt-get", "download", "debootstrap"], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
    (deb,) = scratch.glob("debootstrap_*.deb")
    subprocess.run(["dpkg-deb", "-x", deb, scratch / "db"], check=True)
    return ["env", f"DEBOOTSTRAP_DIR={scratch}/db/usr/share/debootstrap", str(scratch / "db/usr/sbin/debootstrap")]


def prepare() -> Path:
    """Build the root tree once, whoever asks for it first; an interrupted build never leaves a half tree under the final name."""
    root = root_tree()
    if root.is_dir():
        return root
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return root if root.is_dir() else build(root)


def build(root: Path) -> Path:
    """The tree as `prepare` gives it."""
    scratch = Path(tempfile.mkdtemp(prefix="build-", dir=CACHE))
    try:
        tree = scratch / "root"
        command = [*NICE, *debootstrap_command(scratch), "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(tree), mirror()]
        log = scratch / "debootstrap.log"
        with log.open("wb") as out:
            if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode:
                raise LabError(f"debootstrap failed:\n{log.read_text()[-2000:]}")
        # persistent journal (so a test can read it from the host), no console gettys, quick stop
        (tree / "var/log/journal").mkdir(exist_ok=True)
        for unit in (
            "console-getty.service",
            "getty@.service",
            "systemd-networkd.service",
            "apt-daily.timer",
            "apt-daily-upgrade.timer",
            "dpkg-db-backup.timer",
            "e2scrub_all.timer",
            "fstrim.timer",
        ):
            (tree / "etc/systemd/system" / unit).unlink(missing_ok=True)
            (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
        shutil.rmtree(tree / "var/cache/apt/archives", ignore_errors=True)
        (tree / "etc/machine-id").write_text("")
        tree.rename(root)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return root


class Machine:
    def __init__(self, copies: list[tuple[str, str, int | None]] = (), timeout: float = 30.0, layer: Path | None = None):
        """`layer`: what a machine before this one had changed (`keep`), below this one's own changes."""
        self.copies, self.timeout, self.layer = list(copies), timeout, layer
        self.boot_seconds = 0.0

    # -- life cycle ---------------------------------------------------------------------------
    def __enter__(self) -> Machine:
        self._stack = contextlib.ExitStack()
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        lower = prepare()
        self.work = Path(tempfile.mkdtemp(prefix="m-", dir=CACHE))
        self._stack.callback(shutil.rmtree, self.work, ignore_errors=True)
        self.root = self.work / "root"
        for name in ("upper", "work", "root"):
            (self.work / name).mkdir()
        below = lower if self.layer is None else f"{self.layer}:{lower}"
        options = f"lowerdir={below},upperdir={self.work}/upper,workdir={self.work}/work"
        subprocess.run(["mount", "-t", "overlay", "bootlab", "-o", options, self.root], check=True)
        self._stack.callback(subprocess.run, ["umount", "-l", self.root], check=False)
        for source, target, mode in self.copies:
            self.copy_in(source, target, mode)
        self.lower = lower
        self._stack.callback(self._remove_cgroups)
        self._stack.callback(self._stop)
        self._boot()

    def _boot(self) -> None:
        lower = self.lower
        # The tree's own nspawn through the tree's own loader: the host needs no systemd-container
        # (installing that package would upgrade the host's systemd to the same version).
        lib = lower / "usr/lib" / TRIPLET
        (loader,) = (lower / "lib64").glob("ld-linux-*.so.*")
        command = [
            *self._in_own_cgroup(),
            *NICE,
            str(loader.resolve() if not loader.is_symlink() else lower / "lib" / TRIPLET / loader.name),
            "--library-path",
            f"{lib}:{lib}/systemd",
            str(lower / "usr/bin/systemd-nspawn"),
            "--quiet",
            "--directory",
            str(self.root),
            "--machine",
            self.work.name.replace("_", ""),
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--console=pipe",
            "--boot",
        ]
        self.console = self.work / "console.log"
        began = time.monotonic()
        with self.console.open("wb") as out:
            self.nspawn = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,
            )
        self._await_boot(began)

    def _in_own_cgroup(self) -> list[str]:
        """What stands before a command so that it runs in a cgroup of this machine's name.

        nspawn puts the machine below the cgroup that it is in itself. Two machines below one would have their units in the same cgroups: a
        process of the other one reads as pid 0 there, and systemd, which meets it, ends none of the unit's.
        The hierarchy is the one in which nspawn looks for its own: cgroup2 beside version 1, version 1, or cgroup2 alone.
        """
        hierarchy = next(each for each in (CGROUPS / "unified", CGROUPS / "systemd", CGROUPS) if (each / "cgroup.procs").exists())
        own = hierarchy / self.work.name
        own.mkdir(exist_ok=True)
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(own)]

    def _remove_cgroups(self) -> None:
        """In every hierarchy; one that is still in use stays, and harms nobody."""
        for top in (*CGROUPS.glob(self.work.name), *CGROUPS.glob(f"*/{self.work.name}")):
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()

    def _await_boot(self, began: float, not_leader: int | None = None) -> None:
        while self._leader() in (None, not_leader) or self._state() not in ("running", "degraded"):
            if self.nspawn.poll() is not None or time.monotonic() - began > self.timeout:
                raise LabError(f"no boot (rc={self.nspawn.poll()}):\n{self.console.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        self.boot_seconds = time.monotonic() - began

    def keep(self, layer: Path) -> None:
        """Shut down in an orderly way and keep what was changed on the disk as `layer`, but for the journal."""
        self.run("systemctl poweroff", capture_output=True)
        self.nspawn.wait(self.timeout)
        subprocess.run(["umount", self.root], check=True)
        shutil.rmtree(self.work / "upper/var/log/journal", ignore_errors=True)
        subprocess.run(["cp", "-a", self.work / "upper", layer], check=True)

    def reboot(self) -> None:
        """A real reboot: PID 1 goes, a new one starts on the same disk; enabled units must come back."""
        before, began = self._leader(), time.monotonic()
        self.run("systemctl reboot", capture_output=True)
        while self._leader() == before and self.nspawn.poll() is None and time.monotonic() - began < self.timeout:
            time.sleep(0.05)
        # nspawn starts the new PID 1 itself, but ends with 133 where the host's /run is no tmpfs: then it is started again here.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.nspawn.wait(1.0)
        if self.nspawn.poll() == 133:
            self._boot()
        else:
            self._await_boot(began, not_leader=before)

    def _stop(self) -> None:
        leader = self._leader()
        if leader is not None:
            os.kill(leader, signal.SIGKILL)  # its PID 1, and with it all that runs inside: nothing of this machine is kept
        try:
            self.nspawn.wait(20)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()

    def callback(self, function, *arguments) -> None:
        """Something to do when the machine is gone, the last one first."""
        self._stack.callback(function, *arguments)

    # -- inside -------------------------------------------------------------------------------
    def _leader(self) -> int | None:
        try:
            pids = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        except OSError:
            return None
        return int(pids[0]) if pids else None

    def _enter(self) -> list[str] | None:
        leader = self._leader()
        if leader is None:
            return None
        return ["nsenter", "-t", str(leader), "-m", "-u", "-i", "-n", "-p", "-C", "--"]

    def _state(self) -> str:
        enter = self._enter()
        if enter is None:
            return ""
        done = subprocess.run([*enter, "systemctl", "is-system-running"], capture_output=True, text=True)
        return done.stdout.strip()

    def run(self, command: str | list[str], *, check: bool = False, **kwargs) -> subprocess.CompletedProcess:
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        env = [
            "env",
            "-i",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LANG=C.UTF-8",
            "SYSTEMD_PAGER=cat",
            "SYSTEMD_COLORS=0",
        ]
        enter = self._enter()
        if enter is None:
            raise LabError("the machine is not running")
        return subprocess.run([*enter, *env, *argv], check=check, **kwargs)

    def copy_in(self, source: str | Path, target: str, mode: int | None = None) -> None:
        path = self.root / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")  # rename, never write into a running executable
        shutil.copyfile(source, fresh)
        fresh.chmod(Path(source).stat().st_mode & 0o777 if mode is None else mode)
        fresh.rename(path)


def parse_copy(text: str) -> tuple[str, str, int | None]:
    parts = text.split(":")
    if len(parts) not in (2, 3):
        raise argparse.ArgumentTypeError("SRC:DST[:MODE]")
    return parts[0], parts[1], int(parts[2], 8) if len(parts) == 3 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="verb", required=True)
    commands.add_parser("prepare")
    run = commands.add_parser("run")
    run.add_argument("--copy", action="append", type=parse_copy, default=[], metavar="SRC:DST[:MODE]")
    run.add_argument("--script", help="a shell script to run inside (its text goes in by stdin)")
    run.add_argument("--journal-out", help="copy the machine's journal files here afterwards")
    run.add_argument("command", nargs="*")
    args = parser.parse_args()
    try:
        if args.verb == "prepare":
            print(prepare())
            return 0
        with Machine(args.copy) as machine:
            print(f"bootlab: up in {machine.boot_seconds:.2f} s", file=sys.stderr)
            if args.script:
                with Path(args.script).open("rb") as text:
                    code = machine.run(["/bin/bash", "-s", "--", *args.command], stdin=text).returncode
            else:
                code = machine.run(args.command or ["/bin/bash"]).returncode
            if args.journal_out:
                machine.run("journalctl --sync")
                shutil.copytree(machine.root / "var/log/journal", args.journal_out, dirs_exist_ok=True)
        return code
    except (LabError, subprocess.CalledProcessError, OSError) as error:
        print(f"bootlab: {error}", file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
