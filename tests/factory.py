"""Whole, valid records and sheets for tests, without running anything.

record = make_record(RunSpec(techniques=({"name": "quantization", "bits": 4},)), latency={"latency_s": 0.2})
path = Store(tmp_path).put(record, make_sheets(record))
"""

import io
from dataclasses import fields, replace
from typing import Any

from PIL import Image

from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec

TILE, COLUMNS, TILES = 32, 4, 8
CLASSES = ("animal", "building", "food", "heart", "plant", "smiley", "vehicle", "weather")


def make_record(spec: RunSpec | None = None, **overrides: Any) -> RunRecord:
    """A record that `RunRecord.from_dict` accepts. A dictionary in `overrides` is merged into its section."""
    spec = spec or RunSpec()
    bits = next((t["bits"] for t in spec.techniques if "bits" in t), 32)
    baseline_s, speedup = 0.010 * spec.steps * spec.batch_size, 1 + (32 - bits) / 100
    macs = 150_000_000 * spec.steps * spec.batch_size
    latency_s = baseline_s / speedup
    judged = spec.samples >= 2
    record = RunRecord(
        run_id=spec.run_id,
        status="done",
        spec=spec.to_dict(),
        environment={
            "device": spec.device,
            "cpu": "Test CPU",
            "cores": 2,
            "threads": 2,
            "dtype": "float32",
            "torch": "2.14.1",
            "torchao": "0.18.0",
            "diffusers": "0.42.1",
            "python": "3.11.2",
            "load_average": 0.1,
            "fingerprint": "test-machine",
        },
        latency={
            "load_s": 0.8,
            "first_call_s": 2 * latency_s,
            "latency_s": latency_s,
            "calls": 5,
            "batch_size": spec.batch_size,
            "throughput_images_per_s": spec.batch_size / latency_s,
            "raw_s": [latency_s * factor for factor in (0.98, 0.99, 1.0, 1.01, 1.02)],
        },
        memory={
            "weight_bytes": 1_000_000 * bits,
            "baseline_weight_bytes": 32_000_000,
            "peak_memory_bytes": 100_000_000 + 2_000_000 * bits,
            "peak_kind": "VmHWM minus level before load",
        },
        flops={"macs": macs, "flops": 2 * macs, "baseline_macs": macs, "baseline_flops": 2 * macs, "uncounted": {}},
        energy={"energy_j": None, "reason": "no energy counter can be read on this machine"},
        quality={
            "metric": "FD efficientnet-lite0 @64px vs emoji-train",
            "distance": 1500.0 + 800 / bits if judged else None,
            "kid": 0.02 + 0.1 / bits if judged else None,
            "count": spec.samples,
            "reference": "0123456789ab",
            **({} if judged else {"reason": "no samples were judged: set samples to 1000 or more"}),
        },
        fidelity={"psnr_db": 20.0 + bits / 2, "ssim": 1 - 0.5 / bits, "count": TILES},
        speedup={
            "ratio": speedup,
            "low": 0.97 * speedup,
            "high": 1.03 * speedup,
            "confidence": 0.95,
            "blocks": 10,
            "baseline_latency_s": baseline_s,
        },
        samples={
            "sheet": "candidate.webp",
            "baseline_sheet": "baseline.webp",
            "tile": TILE,
            "columns": COLUMNS,
            "labels": list(CLASSES[:TILES]),
            "seeds": list(range(spec.seed, spec.seed + TILES)),
        },
        created_at="2026-01-01T12:00:00+00:00",
    )
    if unknown := set(overrides) - {f.name for f in fields(RunRecord)}:
        raise TypeError(f"a record has no {sorted(unknown)[0]!r}")
    merged = {
        name: {**getattr(record, name), **value} if isinstance(value, dict) and name != "spec" else value
        for name, value in overrides.items()
    }
    return RunRecord.from_dict(replace(record, **merged).to_dict())


def make_sheets(record: RunRecord | None = None) -> dict[str, bytes]:
    """Lossless WebP sheets of coloured tiles as `Store.put` takes them; candidates differ from run to run."""
    run_id = (record or make_record()).run_id
    return {"candidate": _sheet(int(run_id[:2], 16)), "baseline": _sheet(0)}


def _sheet(shade: int) -> bytes:
    sheet = Image.new("RGB", (COLUMNS * TILE, TILES // COLUMNS * TILE))
    for i in range(TILES):
        colour = (30 * i % 256, shade, 255 - 30 * i % 256)
        sheet.paste(Image.new("RGB", (TILE, TILE), colour), (i % COLUMNS * TILE, i // COLUMNS * TILE))
    data = io.BytesIO()
    sheet.save(data, "WEBP", lossless=True)
    return data.getvalue()
