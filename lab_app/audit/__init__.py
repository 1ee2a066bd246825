"""Audit an app that exists: ask it, look at its source, and say what was seen, with evidence that replays."""
