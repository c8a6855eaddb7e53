"""The three training stages: losses, steps, runs that go on."""
