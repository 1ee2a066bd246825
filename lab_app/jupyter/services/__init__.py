"""What a notebook's apps talk to: one module per service, started by its import, stopped with the kernel."""
