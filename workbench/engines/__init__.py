"""The only places where work leaves the process, each a thin layer on an existing engine."""
