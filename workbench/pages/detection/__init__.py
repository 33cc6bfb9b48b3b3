"""The detection page."""
