"""Names of the gradient compressors that `workbench.baselines.compression` builds; a form asks for them without torch."""

RIVALS = ("rsdgc", "dense", "fp16", "powersgd", "topk", "randomk", "dgc", "no-feedback")
