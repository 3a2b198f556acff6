"""Strategies of the harness: configurations, and a class that lets orders rest."""
