"""Pages: combine views and methods. The same object works as a served page and in a notebook cell.

Why this layer exists: docs/design/0001-pages.md.
"""
