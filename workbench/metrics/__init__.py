"""What makes a result good: labelled numbers with a definition and a citation."""
