"""Common ground of both web applications: the database, its migrations, sessions, and guards."""
