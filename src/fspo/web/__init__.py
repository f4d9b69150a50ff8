"""What both web applications stand on: the database, its migrations, sessions, and guards."""
