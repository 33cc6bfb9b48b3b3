"""The compression page."""
