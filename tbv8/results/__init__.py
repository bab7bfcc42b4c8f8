"""What a run comes to: accounting, statistics, and the files and pages of a result."""
