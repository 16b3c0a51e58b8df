"""Where a run's control groups are made and what is written there: both versions, and machines that have both."""

from collections.abc import Mapping

import pytest
from cowrun.cgroups import Group, Hierarchy, Setting, hierarchies, plan
from cowrun.limits import Limits

MEMORY = Limits(memory=64 << 20)
ALL = Limits(memory=64 << 20, quota=50_000, pids=20, pids_asked=True)
V2 = Hierarchy("/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/session-1.scope", frozenset(), True)


def reading(files: Mapping[str, str]):
    return lambda path: files.get(path, "")


def test_version_1_as_it_is_mounted() -> None:
    mountinfo = (
        "30 1 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
        "31 1 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 1 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "33 1 0:29 / /proc rw - proc proc rw\n"
    )
    membership = "4:memory:/own/group\n3:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n"
    assert hierarchies(mountinfo, membership) == [
        Hierarchy("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/own/group", frozenset(("memory",)), False),
        Hierarchy("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", frozenset(("cpu", "cpuacct")), False),
        Hierarchy("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified", frozenset(), True),
    ]


def test_a_part_of_the_tree_that_is_mounted() -> None:
    """In a container the mount's root is the group itself."""
    mountinfo = "30 1 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
    (found,) = hierarchies(mountinfo, "0::/docker/abc/inner\n")
    assert found.own == "/sys/fs/cgroup/inner"


def test_version_1_is_below_the_own_group_of_each_controller() -> None:
    machine = [
        Hierarchy("/m", "/m/own", frozenset(("memory",)), False),
        Hierarchy("/c", "/c", frozenset(("cpu", "cpuacct")), False),
        Hierarchy("/p", "/p", frozenset(("pids",)), False),
    ]
    assert plan(ALL, machine, reading({})) == (
        [
            Group(
                "/m/own",
                False,
                (
                    Setting("memory", "memory.limit_in_bytes", "67108864"),
                    Setting("memory", "memory.memsw.limit_in_bytes", "134217728", needed=False),
                ),
            ),
            Group(
                "/c",
                False,
                (Setting("cpu", "cpu.cfs_period_us", "100000"), Setting("cpu", "cpu.cfs_quota_us", "50000")),
            ),
            Group("/p", False, (Setting("pids", "pids.max", "20"),)),
        ],
        [],
    )


def test_version_2_is_beside_the_own_group_which_holds_a_process() -> None:
    files = {
        "/sys/fs/cgroup/user.slice/session-1.scope/cgroup.procs": "12\n",
        "/sys/fs/cgroup/user.slice/cgroup.procs": "",
        "/sys/fs/cgroup/user.slice/cgroup.controllers": "cpu memory pids\n",
    }
    assert plan(ALL, [V2], reading(files)) == (
        [
            Group(
                "/sys/fs/cgroup/user.slice",
                True,
                (
                    Setting("memory", "memory.max", "67108864"),
                    Setting("memory", "memory.swap.max", "67108864", needed=False),
                    Setting("cpu", "cpu.max", "50000 100000"),
                    Setting("pids", "pids.max", "20"),
                ),
            )
        ],
        [],
    )


def test_version_2_ends_at_the_root_which_may_hold_processes() -> None:
    procs = ("", "/user.slice", "/user.slice/session-1.scope")
    files = {f"/sys/fs/cgroup{name}/cgroup.procs": "1\n" for name in procs}
    files["/sys/fs/cgroup/cgroup.controllers"] = "memory"
    (group,), missing = plan(ALL, [V2], reading(files))
    assert group.parent == "/sys/fs/cgroup"
    assert missing == ["cpu", "pids"]


def test_a_machine_with_both_uses_the_one_that_has_the_controller() -> None:
    machine = [V2, Hierarchy("/m", "/m", frozenset(("memory",)), False)]
    (group,), missing = plan(MEMORY, machine, reading({}))
    assert (group.parent, missing) == ("/m", [])


@pytest.mark.parametrize("limits", [Limits(), Limits(pids_asked=False)])
def test_without_limits_there_are_no_groups(limits: Limits) -> None:
    assert plan(limits, [V2], reading({})) == ([], [])
