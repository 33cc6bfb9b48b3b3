"""Readers: one module per format turns a file into a `Cube` (`cube.py`) or a scene; `workbench.data.formats` decides which one."""
