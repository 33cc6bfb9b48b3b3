"""The land cover page."""
