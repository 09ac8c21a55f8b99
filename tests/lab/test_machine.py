"""Machines that run at once have nothing to do with each other."""

from __future__ import annotations

from tests.lab.inside import said
from tests.lab.machine import CGROUPS, Machine

_UNIT = "/sys/fs/cgroup/system.slice/same.service/cgroup.procs"


def test_units_of_one_name_are_each_machines_own() -> None:
    with Machine() as one, Machine() as other:
        pids = {}
        for machine in (one, other):
            said(machine, "systemd-run --unit same sleep infinity")
            pids[machine] = said(machine, "systemctl show -P MainPID same")
        for machine, pid in pids.items():
            assert said(machine, f"cat {_UNIT}") == pid
        said(one, "systemctl stop same")
        assert one.run(["kill", "-0", pids[one]], capture_output=True).returncode != 0
        assert said(other, "systemctl show -P MainPID same") == pids[other]
        names = [one.work.name, other.work.name]
    assert not [path for name in names for path in CGROUPS.glob(f"*/{name}")]
