"""The status and the report page: each module reads its records and draws them."""
