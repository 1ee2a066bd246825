"""Apps that are hard to audit, each in one way."""
