"""Makes preferences: titles and users, answers, labels, a dataset."""
