"""Studies: variants of a config, judged alike and set side by side."""
