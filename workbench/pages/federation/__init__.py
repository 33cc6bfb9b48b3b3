"""The federation page."""
