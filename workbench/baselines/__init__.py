"""The rivals: well-known detectors that every claim is measured against, each citing its source."""
