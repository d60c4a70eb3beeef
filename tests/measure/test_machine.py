"""What is seen of a machine while something is timed, from files as the kernel writes them."""

import pytest

from dit_core.measure import machine
from dit_core.measure.machine import EVERY_S, Machine, untold


@pytest.fixture
def files(monkeypatch, tmp_path):
    """`files({path: text})` writes files under /sys and /proc of a machine that has nothing else."""
    monkeypatch.setattr(machine, "SYS", tmp_path / "sys")
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")

    def write(content):
        for name, text in content.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_clocks_heat_and_busy_processors_are_seen(files):
    files(
        {
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2000000",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "3000000",
            "sys/class/thermal/thermal_zone0/temp": "41000",
            "sys/class/thermal/thermal_zone1/temp": "63500",
            "sys/class/thermal/thermal_zone2/temp": "broken",
            "proc/stat": "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1",
        }
    )
    looker = Machine("cpu", Clock())
    files({"proc/stat": "cpu  160 0 115 720 105 0 0 0 0 0\ncpu0 1"})  # 75 of 100 ticks
    looker.look()
    (look,) = looker.looks
    assert look["cpu_clock_hz"] == 2_500_000_000
    assert look["cpu_temperature_celsius"] == 63.5
    assert look["busy_share"] == 0.75
    assert look["load_average_1min"] >= 0
    assert untold(looker.looks) == {}


def test_a_machine_that_tells_nothing_leaves_reasons(files):
    looker = Machine("cpu", Clock())
    looker.look()
    assert [looker.looks[0][name] for name in ("cpu_clock_hz", "cpu_temperature_celsius", "busy_share")] == [None] * 3
    assert "thermal zone" in untold(looker.looks)["cpu_temperature_celsius"]
    files({"proc/cpuinfo": "processor: 0\ncpu MHz\t\t: 2596.144\n\nprocessor: 1\ncpu MHz\t\t: 2400.0\n"})
    looker.look(now=True)
    assert looker.looks[1]["cpu_clock_hz"] == 2_498_072_000
    assert "cpu_clock_hz" not in untold(looker.looks)


def test_looks_are_apart_so_that_they_cost_nothing_but_the_last_is_always_taken():
    clock = Clock()
    looker = Machine("cpu", clock)
    for _ in range(80):
        looker.look()
        clock.now += EVERY_S / 16
    looker.look(now=True)
    looker.look(now=True)
    assert [look["at_s"] for look in looker.looks] == [0, 2, 4, 6, 8, 10, 10]
