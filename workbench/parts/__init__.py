"""Mathematics that several methods share: pure torch, pure functions first, no files, no networks of one paper."""
