"""What must stand next to a Frechet distance. Knows no Streamlit."""

from collections.abc import Sequence

from dit_core.records import metrics
from dit_core.records.record import RunRecord


def distances(records: Sequence[RunRecord]) -> str:
    """Return what each Frechet distance of these records is, its N and its reference; empty if none was judged.

    Every page that shows a distance or FID shows these sentences.
    """
    sentences = dict.fromkeys(
        f"{metric.tile_title}: {metric.explained(record)}"
        for metric in metrics.FRECHET
        for record in records
        if metric.read(record) is not None
    )
    return " ".join(sentences)


def small_sample(records: Sequence[RunRecord], kind: str = "flag") -> str:
    """Return a warning if a distance was computed from few images; empty if there were enough.

    `kind` is "flag" for the project's own distance, "fid_flag" for FID.
    """
    flag = next((flag for record in records if (flag := record.quality.get(kind))), "")
    return f"{flag[0].upper()}{flag[1:]}: compare it only with distances of the same number of images." if flag else ""
