"""What people look at: progress, tables, plots, annotated video, pages."""
