"""Screening and validation of candidates as atomate2 workflows: documents, engines, makers, stores and local runs."""
