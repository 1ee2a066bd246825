"""What can be seen without running the app: its code, its settings, its dependencies, its front server."""
