"""Data: open scenes (`catalog`, `readers`), get them (`fetch`), make simulated ones (`synth`)."""
