import json

import pytest
import torch

from dit_core.measure import roofline

PEAKS = {
    "float32_flops_per_s": 100e9,
    "int8_ops_per_s": 400e9,
    "copy_bytes_per_s": 10e9,
    "load_per_thread": 0.1,
}
QUIET = {"fingerprint": "f", "device": "cpu", "threads": 2, "load_average_1min": 0.2}
BUSY = {**QUIET, "load_average_1min": 3.0}


def test_the_peaks_of_this_device_are_positive():
    peaks = roofline.measure_peaks(torch.device("cpu"), sides=(64,), copied_bytes=2**16, repeats_s=0.0)
    assert all(peaks[name] > 0 for name in roofline.PEAKS)


def test_peaks_are_measured_once_and_again_only_if_the_load_was_higher(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_CACHE", str(tmp_path))
    devices = []

    def measure_peaks(device):
        devices.append(device)
        return {name: 10.0 * len(devices) if name != "int8_ops_per_s" else 5.0 for name in roofline.PEAKS}

    monkeypatch.setattr(roofline, "measure_peaks", measure_peaks)
    assert roofline.device_peaks(BUSY)["float32_flops_per_s"] == 10.0
    assert roofline.device_peaks(BUSY)["float32_flops_per_s"] == 10.0  # the load is as high as before
    assert len(devices) == 1
    quiet = roofline.device_peaks(QUIET)
    assert (quiet["float32_flops_per_s"], quiet["load_per_thread"]) == (20.0, 0.1)
    assert roofline.device_peaks(QUIET) == roofline.device_peaks(BUSY) == quiet
    assert len(devices) == 2
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({"torn": 1}))
    assert roofline.device_peaks(QUIET)["float32_flops_per_s"] == 30.0


def test_a_higher_peak_that_was_measured_under_load_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_CACHE", str(tmp_path))
    values = iter([50.0, 40.0])
    monkeypatch.setattr(roofline, "measure_peaks", lambda device: dict.fromkeys(roofline.PEAKS, next(values)))
    roofline.device_peaks(BUSY)
    assert roofline.device_peaks(QUIET)["copy_bytes_per_s"] == 50.0


def test_the_attainable_time_is_the_longer_of_computing_and_moving():
    computing = roofline.roofline(200e9, 0, 1e9, PEAKS)
    assert (computing["bound"], computing["attainable_s"]) == ("compute", pytest.approx(2.0))
    moving = roofline.roofline(10e9, 0, 5e9, PEAKS)
    assert (moving["bound"], moving["attainable_s"]) == ("memory", pytest.approx(0.5))
    assert roofline.roofline(200e9, 100e9, 0, PEAKS)["compute_s"] == pytest.approx(1.0 + 0.25)
    assert computing["ridge_flop_per_byte"] == 10
