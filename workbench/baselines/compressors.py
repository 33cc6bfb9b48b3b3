"""Names of the gradient compressors that `workbench.baselines.compression` builds; importing them does not import torch."""

RIVALS = (
    *("rsdgc", "rsdgc-uniform", "magnitude-dynamic", "magnitude-uniform"),  # indicator x budget, all else equal
    *("dense", "fp16", "powersgd", "topk", "randomk", "dgc", "no-feedback"),
)
