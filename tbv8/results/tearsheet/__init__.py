"""The page of a result; page.py combines its parts."""
