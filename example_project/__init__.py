"""A complete project around the app: SQLite, the simulator, no credentials."""
