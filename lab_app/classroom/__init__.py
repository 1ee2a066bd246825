"""Many submissions: collect, grade, report."""
