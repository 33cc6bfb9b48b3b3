"""Metrics of results: labelled numbers, each with a definition and a citation."""
