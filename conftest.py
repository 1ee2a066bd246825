"""Both `pytest checks` and `pytest tests` find the checks' world here."""

pytest_plugins = ["lab_app.harness.plugin"]
