"""Free memory is the machine's, or what a container's limit leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_runtime.in_process.ram import available_ram, total_ram

GIB = 1024**3


@pytest.fixture
def write(tmp_path):
    """Writes a file of the pretended file system."""

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("proc/meminfo", f"MemTotal: {64 * 1024**2} kB\nMemAvailable: {48 * 1024**2} kB\n")
    return write


def test_machine_without_limits_has_all_of_it(tmp_path, write):
    write("proc/self/cgroup", "0::/system.slice/worker.service\n")
    write("sys/fs/cgroup/system.slice/worker.service/memory.max", "max\n")
    assert total_ram(tmp_path) == 64 * GIB
    assert available_ram(tmp_path) == 48 * GIB


@pytest.mark.parametrize("path", ["/", "/kubepods/pod7/cri-containerd:1a"])
def test_containers_limit_counts_and_its_page_cache_is_free(tmp_path, write, path):
    write("proc/self/cgroup", f"0::{path}\n")
    write("sys/fs/cgroup/memory.max", f"{16 * GIB}\n")
    write("sys/fs/cgroup/memory.current", f"{10 * GIB}\n")
    write(
        "sys/fs/cgroup/memory.stat",
        f"anon {4 * GIB}\ninactive_file {5 * GIB}\nactive_file {1 * GIB}\n",
    )
    assert total_ram(tmp_path) == 16 * GIB
    assert available_ram(tmp_path) == 12 * GIB


def test_limit_of_a_group_further_up_counts(tmp_path, write):
    write("proc/self/cgroup", "0::/kubepods/pod7\n")
    write("sys/fs/cgroup/kubepods/pod7/memory.max", "max\n")
    write("sys/fs/cgroup/kubepods/memory.max", f"{8 * GIB}\n")
    write("sys/fs/cgroup/kubepods/memory.current", f"{9 * GIB}\n")
    write("sys/fs/cgroup/kubepods/memory.stat", "inactive_file 0\n")
    assert total_ram(tmp_path) == 8 * GIB
    assert available_ram(tmp_path) == 0


def test_limit_of_the_first_generation_of_control_groups_counts(tmp_path, write):
    folder = "sys/fs/cgroup/memory/docker/1a"
    write("proc/self/cgroup", "3:cpu,cpuacct:/docker/1a\n4:memory:/docker/1a\n0::/\n")
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n")
    write(f"{folder}/memory.limit_in_bytes", f"{16 * GIB}\n")
    write(f"{folder}/memory.usage_in_bytes", f"{10 * GIB}\n")
    write(f"{folder}/memory.stat", f"total_inactive_file {2 * GIB}\ntotal_active_file 0\n")
    assert total_ram(tmp_path) == 16 * GIB
    assert available_ram(tmp_path) == 8 * GIB


def test_this_machines_figures_are_found():
    assert 0 < available_ram() <= total_ram()
    assert Path("/proc/meminfo").exists()
