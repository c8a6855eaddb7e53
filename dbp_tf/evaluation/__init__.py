"""The published evaluation: restore, score, note down, draw."""
