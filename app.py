"""The entry: `streamlit run app.py`. Starts the worker with the server and stops the one that it started."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[None]:
    """Load what the first page needs before the first visit; run a worker as long as the server runs."""
    from dit_core.ui.server import warm_up, worker

    warm_up()
    with worker():
        yield


app = st.App("dit_core/ui/main.py", lifespan=lifespan)
