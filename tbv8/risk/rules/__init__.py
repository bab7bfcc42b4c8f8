"""The rules, a module each; `tbv8.risk.checks` lists them in the order of the checks."""
