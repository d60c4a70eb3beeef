"""One run in a process of its own: `python -m dit_core.search.one ORDER`, started by `dit_core.search.apart`.

It tells its ending on its standard output, where nothing else goes, and dies with its parent.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from dit_core import child
from dit_core.errors import BadRequest
from dit_core.listener import Listener, show_progress
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Store


def main(experiment: Callable[..., RunRecord] | None = None) -> None:
    """Carry out the order that is the last argument. `experiment` stands in for `experiment.run` in tests."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    child.follow_parent()
    child.die_before_others()
    order = json.loads(sys.argv[-1])
    state, reason = "done", ""
    try:
        out = Path(order["out"]) if order["out"] else None
        run, listener = experiment or child.experiment(), Listener(progress=show_progress)
        child.die_with_parent()
        spec = RunSpec.from_dict(order["spec"])
        run(spec, store=Store(out), listener=listener, again=True, local=out is None)
    except Exception as error:
        if not isinstance(error, BadRequest):
            traceback.print_exc()
        state, reason, _ = child.outcome(error)
    json.dump({"state": state, "reason": reason}, answer)
    answer.close()


if __name__ == "__main__":
    main()
