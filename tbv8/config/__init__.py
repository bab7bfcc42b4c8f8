"""Configuration: the YAML files of `config/` as frozen records, and Python sources read by ast."""
