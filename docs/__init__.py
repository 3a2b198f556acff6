"""The documentation: pages, and in `generator` what writes those that show the code."""
