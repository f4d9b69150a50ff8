"""The ways to answer a user, behind one small interface."""
