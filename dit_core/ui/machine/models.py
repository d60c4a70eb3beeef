"""The models on the page This machine: what each still needs, and a form that keeps an own model under a name."""

from dataclasses import Field, fields

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dit_core.errors import BadRequest
from dit_core.models import sources
from dit_core.models.sources import Listed, Options
from dit_core.models.sources.options import parse_options
from dit_core.ui import format

RUN_LIVE = "../../pages/run_live.py"
BY_DEFAULT = "from the file, or the default"


def model_list() -> None:
    """All models, one row each, with what they need; own ones with their options and a button that forgets them."""
    try:
        models = sources.overview()
    except BadRequest as error:
        st.error(format.escaped(str(error)))
        return
    with st.container(gap="xsmall"):
        for listed in models:
            _row(listed)
    with st.expander("Add a model", icon=":material/add:", key="add-model"):
        _form()


def _row(listed: Listed) -> None:
    """A model with a link to its form, what it needs and which of its facts are assumed."""
    left, right = st.columns([2, 6], gap="xxsmall", vertical_alignment="center")
    left.page_link(
        RUN_LIVE,
        label=f"**{format.escaped(listed.name)}**",
        icon=":material/play_arrow:",
        help="Open it on Run live.",
        query_params={"model": listed.name},
    )
    with right.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(format.escaped(_needs(listed)), width="content")
        if listed.target:
            with st.popover("Details", type="tertiary"):
                st.text(listed.target)
                for fact in listed.facts:
                    st.text(str(fact))
            st.button(
                "Forget",
                key=f"forget-{listed.name}",
                on_click=_forget,
                args=(listed.name,),
                type="tertiary",
                help="Removes the name from this list. The files of the model and its runs stay.",
            )


def _form() -> None:
    """Inputs for a model and the facts that its file may not tell."""
    with st.form("add-a-model", border=False, enter_to_submit=False):
        st.caption(
            "A checkpoint of fast-DiT or DiT, a diffusers folder, a model folder on this machine, or a name on Hugging "
            "Face. Leave a field empty if the file has its value."
        )
        left, right = st.columns(2)
        name = left.text_input("Name", key="add-name", help="A short name for lists, links and --model.")
        target = right.text_input("Path or name on Hugging Face", key="add-target")
        columns = st.columns(2)
        texts = {option.name: _input(columns[index % 2], option) for index, option in enumerate(fields(Options))}
        if st.form_submit_button("Add", icon=":material/add:", key="add-submit"):
            _add(name.strip(), target.strip(), texts)


def _input(where: DeltaGenerator, option: Field) -> str:
    """An input for one option; returns what the person wrote or chose as text, empty for the default."""
    label, about = format.knob_label(option.name), option.metadata["help"]
    help_text = f"{about[0].upper()}{about[1:]}."
    if choices := option.metadata["choices"]:
        chosen = where.selectbox(
            label,
            choices,
            index=None,
            format_func=format.knob_value,
            placeholder=BY_DEFAULT,
            key=f"add-{option.name}",
            help=help_text,
        )
        return "" if chosen is None else str(chosen)
    return where.text_input(label, key=f"add-{option.name}", placeholder=BY_DEFAULT, help=help_text)


def _add(name: str, target: str, texts: dict[str, str]) -> None:
    try:
        if not name or not target:
            raise BadRequest("Enter a name and the path of a model.")
        with st.spinner("Reading the model…"):
            sources.add(name, target, parse_options(texts))
    except BadRequest as error:
        st.error(format.escaped(str(error)))
        return
    st.toast(f"{name} was added.")
    st.rerun()


def _forget(name: str) -> None:
    try:
        sources.registry.remove(name)
    except BadRequest as error:
        st.toast(str(error))


def _needs(listed: Listed) -> str:
    return f"Needs {'; '.join(listed.needs)}." if listed.needs else "Ready."
