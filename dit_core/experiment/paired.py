"""The baseline's images that a candidate's are paired with: their features, kept between the runs of one workload."""

import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dit_core import quality
from dit_core.models import sources
from dit_core.models.model import Decoded
from dit_core.quality.efficientnet import EXTRACTOR, SIDE, extract
from dit_core.recipes.recipe import Recipe
from dit_core.records.spec import RunSpec
from dit_core.system.cache import cache_folder, keep


def baseline_features(spec: RunSpec, environment: dict[str, Any], draw: Callable[[], Decoded]) -> Tensor | str:
    """Return the pooled features (N, 1280) of the baseline's images, from the cache or of those that `draw` returns.

    They are kept by workload, weights and environment, because another machine rounds differently. If there is nothing
    to compare them with, or an image has values that are not finite, the reason is returned.
    """
    reference = sources.find(spec.model).reference_images
    if not spec.reference and isinstance(reference, sources.Missing):
        return reference.reason
    weights = Recipe.of(spec.baseline).weights_digest(spec.model)
    parts = [spec.baseline.run_id, weights, environment["fingerprint"], EXTRACTOR, SIDE]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    path = cache_folder() / "baselines" / f"{key}.npy"
    if weights and path.is_file():
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except Exception:  # torn or truncated: it is drawn and written again
            pass
    decoded = draw()
    if decoded.broken:
        return f"the baseline: {quality.non_finite(decoded.broken, len(decoded.images))}"
    try:
        features = extract(decoded.images).pooled
    except ValueError as error:  # also for a missing extractor
        return str(error)
    if weights and Recipe.of(spec).weights_digest(spec.model) == environment["weights"]:  # not changed meanwhile
        buffer = io.BytesIO()
        np.save(buffer, features.numpy())
        keep(path, buffer.getvalue())
    return features
