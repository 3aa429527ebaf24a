"""Variants timed side by side: settings and contestants → measuring → a record → JSON, tables, a plot."""
