"""Reports, sweeps, reruns and results pages: everything that is made from runs for a reader."""
