"""Figures for reports, drawn with matplotlib."""
