"""Plain values shared by every part of the trusted system; standard library only."""
