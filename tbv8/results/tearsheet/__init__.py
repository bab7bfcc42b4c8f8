"""A result as one page; page.py puts its parts together."""
