"""Entry point of `streamlit run app.py`. A worker runs as long as the server, unless another one already runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[None]:
    """Load what the first page needs before the first visit, and run a worker while the server runs."""
    from dit_core.ui.server import warm_up, worker

    warm_up()
    with worker():
        yield


app = st.App("dit_core/ui/main.py", lifespan=lifespan)
