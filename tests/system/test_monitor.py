"""Readings of the machine while something is timed, with stand-ins for psutil."""

from types import SimpleNamespace

import psutil
import pytest

from dit_core.system import hardware, monitor
from dit_core.system.monitor import EVERY_S, Monitor, missing_reasons


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def sensor(celsius):
    return SimpleNamespace(current=celsius)


@pytest.fixture
def machine(monkeypatch):
    """`machine(**values)` sets what the system reports: clock (MHz), sensors, and (busy, all) processor seconds."""

    def report(clock=None, sensors=None, seconds=(0.0, 0.0)):
        monkeypatch.setattr(psutil, "cpu_freq", lambda: clock and SimpleNamespace(current=clock))
        monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors or {}, raising=False)
        monkeypatch.setattr(monitor, "processor_seconds", lambda: seconds)

    return report


def test_a_reading_has_clock_temperature_and_the_share_of_time_that_processors_were_busy(machine):
    sensors = {"coretemp": [sensor(41.0), sensor(63.5)], "nvme": [sensor(90.0)]}
    machine(clock=2500.0, sensors=sensors, seconds=(100.0, 1000.0))
    readings = Monitor("cpu", Clock())
    machine(clock=2500.0, sensors=sensors, seconds=(175.0, 1100.0))
    readings.read()
    (reading,) = readings.readings
    assert reading["cpu_clock_hz"] == 2_500_000_000
    assert reading["cpu_temperature_celsius"] == 63.5
    assert reading["busy_share"] == 0.75
    assert reading["load_average_1min"] >= 0
    assert missing_reasons(readings.readings) == {}


def test_a_value_that_the_machine_does_not_report_is_none_with_a_reason(machine):
    machine()
    readings = Monitor("cpu", Clock())
    readings.read()
    names = ("cpu_clock_hz", "cpu_temperature_celsius", "busy_share")
    assert [readings.readings[0][name] for name in names] == [None] * 3
    assert set(missing_reasons(readings.readings)) == set(names)
    machine(clock=2400.0)
    readings.read(now=True)
    assert readings.readings[1]["cpu_clock_hz"] == 2_400_000_000
    assert "cpu_clock_hz" not in missing_reasons(readings.readings)


def test_an_unknown_sensor_counts_if_none_is_the_processor_s(machine):
    machine(sensors={"nvme": [sensor(50.0)], "board": [sensor(45.0)]})
    assert monitor.cpu_temperature_celsius() == 50.0


def test_a_system_without_a_clock_is_no_failure(monkeypatch):
    def refuse():
        raise NotImplementedError("can't find current frequency file")

    monkeypatch.setattr(psutil, "cpu_freq", refuse)
    assert monitor.cpu_clock_hz() is None


def test_readings_are_at_least_two_seconds_apart_and_the_last_is_always_taken():
    clock = Clock()
    readings = Monitor("cpu", clock)
    for _ in range(80):
        readings.read()
        clock.now += EVERY_S / 16
    readings.read(now=True)
    readings.read(now=True)
    assert [reading["at_s"] for reading in readings.readings] == [0, 2, 4, 6, 8, 10, 10]


def test_this_machine_reports_its_cores_memory_and_processor_time():
    assert hardware.usable_cores() >= 1
    assert 0 < hardware.available_bytes() <= hardware.memory_bytes()
    busy_s, all_s = hardware.processor_seconds()
    assert 0 < busy_s < all_s
    assert hardware.busy_share((busy_s, all_s), (busy_s + 1, all_s + 4)) == 0.25
    assert hardware.busy_share((busy_s, all_s), (busy_s, all_s)) is None


def test_without_proc_cpuinfo_a_processor_has_the_name_of_its_platform(monkeypatch, tmp_path):
    assert hardware.processor_name()
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "none")
    assert hardware.processor_fields() == {}
    assert hardware.processor_name()
