"""The panel of distillation: how similar the features of a student are to those of its teacher."""

from typing import Any

import streamlit as st

from dit_core.ui import format
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.inside import parts


def panel(content: dict[str, Any], data: dict[str, Any]) -> None:
    """Draw the panel."""
    st.markdown(
        "A student starts as a reduced copy of its teacher. Training then makes it **reproduce the teacher's** outputs "
        "and its internal features. Each cell compares a student block's output with a teacher block's by linear "
        "CKA; 100 means the same up to rotation and scale. In a good student the last block matches the teacher's "
        "last block."
    )
    if not data["students"]:
        st.info(f"No student has been computed yet: run {content['command']}")
        return
    students = {_title(student): student for student in data["students"]}
    default = next((title for title, student in students.items() if student["recovered"]), next(iter(students)))
    title = st.selectbox("Student", list(students), list(students).index(default), key="student", **IN_URL)
    student = students[title or default]
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown("**Similarity of features**, in percent")
        values = [[100 * share for share in row] for row in student["similarity"]]
        blocks = [str(i + 1) for i in range(len(values[0]))]
        parts.matrix(values, blocks, "distillation", ("Teacher's block", "Student's block"), "alike")
    with right:
        error = f"{100 * student['error']:.0f} %"
        st.metric("Relative error of the output", error, help="0 % means the same output as the teacher.")
        rows = {"Teacher": 0, "Student": student["row"]}
        parts.image_rows(content, "samples", rows, "Images from the same noise")


def _title(student: dict[str, Any]) -> str:
    """A student, as links name it: `Depth pruning, recovered by distillation: keep 4`."""
    knobs = student["knobs"].replace("_", " ").replace("=", " ").replace(",", ", ")
    training = "recovered by distillation" if student["recovered"] else "cut, not trained"
    return f"{format.technique_title(student['technique'])}, {training}: {knobs}"
