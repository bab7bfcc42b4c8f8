"""The results of a run: accounting, statistics, files and pages."""
