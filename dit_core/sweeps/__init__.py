"""Many runs: every run of a grid file, each in a fresh process, resumed where it stopped. Imports no torch."""

from dit_core.sweeps.grid import read_grid
from dit_core.sweeps.grid_sweep import counts, fronts, sweep

__all__ = ["counts", "fronts", "read_grid", "sweep"]
