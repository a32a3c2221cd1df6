"""What is known: populations, their runs and results, in SQLite or PostgreSQL."""
