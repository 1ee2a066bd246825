"""Judge one answer: the pytest plugin, its evidence, and the Verdict.

What a check module needs is imported from here.
"""

from lab_app.harness.expect import REFUSED, CheckFailed, expect, json_of
from lab_app.harness.marks import attack, exercise, legit
from lab_app.harness.world import App, Desk

__all__ = ["REFUSED", "App", "CheckFailed", "Desk", "attack", "exercise", "expect", "json_of", "legit"]
