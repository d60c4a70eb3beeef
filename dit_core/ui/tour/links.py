"""The links of the tour's steps: the query that opens a page on what the step speaks of."""

from collections.abc import Sequence

from dit_core.records.store import Stored
from dit_core.ui import comparisons, format
from dit_core.ui.inside import inside_page
from dit_core.ui.run_live import form

Query = dict[str, str | list[str]]
FEW_BITS = 2


def default_view(runs: Sequence[Stored]) -> Query:
    """Open the page with its defaults."""
    return {}


def run_form(runs: Sequence[Stored]) -> Query:
    """Open Run live with the inputs of the step's run."""
    return form.address(comparisons.spec_of(runs[-1]))


def family_on_pareto(runs: Sequence[Stored]) -> Query:
    """Open Pareto with the baseline and the family of the step's run."""
    return {"families": ["baseline", format.family(comparisons.spec_of(runs[-1]))]}


def comparison(runs: Sequence[Stored]) -> Query:
    """Open Compare with the baseline and the step's run."""
    return {"runs": [comparisons.point_id(stored) for stored in runs]}


def experts(runs: Sequence[Stored]) -> Query:
    """Open Inside on the experts."""
    return {"panel": inside_page.TITLES["experts"]}


def caching(runs: Sequence[Stored]) -> Query:
    """Open Inside on caching."""
    return {"panel": inside_page.TITLES["caching"]}


def two_bit_weights(runs: Sequence[Stored]) -> Query:
    """Open Inside on quantization with few bits."""
    return {"panel": inside_page.TITLES["quantization"], "bits": str(FEW_BITS)}
