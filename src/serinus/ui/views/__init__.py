"""The views: one module for each page, and `install(site)` in each."""
