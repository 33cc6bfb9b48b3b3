"""Pages: views put together with methods. The same object is a served page and a notebook cell.

Why this layer exists: docs/design/0001-pages.md.
"""
