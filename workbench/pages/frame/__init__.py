"""What all pages share: session, runner, address, cache."""
