"""For eyes: status, tearsheet, the report page; records are read here, and drawn beside."""
