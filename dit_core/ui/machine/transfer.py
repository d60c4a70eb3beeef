"""Records as one file: those of this machine to take away, and those of other machines to compare with."""

import streamlit as st

from dit_core.analysis import archive
from dit_core.errors import BadRequest
from dit_core.records.store import Store, StoreError
from dit_core.system.files import named_path
from dit_core.ui import data, format

LARGEST_MB = 200  # of an uploaded file


def records() -> None:
    """A download of the records that were measured here, and inputs for records of other machines."""
    count = sum(stored.origin == "local" for stored in data.loaded().records)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Take the records of this machine away**")
        if count:
            st.download_button(
                f"Export {count} record{'s' * (count != 1)} (zip)",
                lambda: archive.pack(Store()),
                "records.zip",
                "application/zip",
                on_click="ignore",
                icon=":material/download:",
                key="export-records",
                help="One file with every record that was measured here, and its pictures.",
            )
        else:
            st.caption("No run was measured on this machine yet.")
        st.code("python -m dit_core records export records.zip", language=None)
    with right:
        st.markdown("**Compare with other machines**")
        with st.form("import-records", border=False, clear_on_submit=True, enter_to_submit=False):
            file = st.file_uploader("File of an export", type="zip", max_upload_size=LARGEST_MB, key="import-file")
            path = st.text_input(
                "Or a shared folder",
                key="import-path",
                placeholder="A folder with exports, or a results folder",
                help="The server reads it.",
            )
            if st.form_submit_button("Import", icon=":material/upload:", key="import-submit"):
                _merge(file.getvalue() if file else None, path.strip())


def _merge(content: bytes | None, path: str) -> None:
    try:
        if content is None and not path:
            raise BadRequest("Choose a file or enter a folder.")
        with st.spinner("Checking the records…"):
            result = archive.merge(Store(), named_path(path) if content is None else content)
    except (BadRequest, StoreError) as error:
        st.error(format.escaped(str(error)))
        return
    (st.success if result.added else st.info)(
        f"{result}. They are on the page Pareto under the name of their machine." if result.added else f"{result}."
    )
    for name, reason in result.refused.items():
        st.caption(format.escaped(f"Refused {name}: {reason}"))
