"""What is asked of a running app, one module for each kind of weakness."""
