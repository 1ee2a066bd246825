"""Files and exercises: read a source, build a notebook, read a submission."""
