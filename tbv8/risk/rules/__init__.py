"""One module a rule; `tbv8.risk.checks` lists them in the order in which they are asked."""
