"""Readers: one module per format reads a file as a `Cube` or a scene; `workbench.data.formats` chooses the module."""
