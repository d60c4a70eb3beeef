"""Judge images: distance to the data with the offline ImageNet extractor, FID, and fidelity to the baseline."""

from dit_core.quality.adm import samples_bytes
from dit_core.quality.fidelity import fidelity
from dit_core.quality.judge import judge, not_finite, not_judged

__all__ = ["fidelity", "judge", "not_finite", "not_judged", "samples_bytes"]
