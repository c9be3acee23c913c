"""Measurements of Paceline beside its peers; never imported by the package or by its tests."""
