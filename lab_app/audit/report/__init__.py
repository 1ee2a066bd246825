"""An audit as Markdown, HTML, SARIF and JSON."""
