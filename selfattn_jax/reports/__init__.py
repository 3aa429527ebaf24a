"""Reports: run and study folders in; tables, plots and one self-contained HTML page out."""
