"""Accuracy beyond the trained length."""
