"""What users prefer: the record, reading, writing, importing, statistics."""
