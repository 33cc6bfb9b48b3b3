"""Python imports this at the start of every process whose PYTHONPATH has this folder: the toy is in the table there, too."""

from workbench.methods import METHODS

METHODS.setdefault("toy", "tests.toy.room")
