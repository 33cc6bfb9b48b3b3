"""Names of the gradient compressors that `workbench.baselines.compression` builds; importing them does not import torch."""

RIVALS = ("rsdgc", "dense", "fp16", "powersgd", "topk", "randomk", "dgc", "no-feedback")
