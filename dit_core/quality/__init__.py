"""Judge images: distance to the data with the offline ImageNet extractor, and fidelity to the baseline."""

from dit_core.quality.fidelity import fidelity
from dit_core.quality.judge import judge, not_judged

__all__ = ["fidelity", "judge", "not_judged"]
