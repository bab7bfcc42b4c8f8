"""Speed, as ratios against a floor measured in the same run; `doit bench` runs them."""
