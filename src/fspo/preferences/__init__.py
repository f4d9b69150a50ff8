"""Users' preferences: the record, reading, writing, importing, statistics."""
