"""Figures for papers, slides and documents. Needs the extra `report` (matplotlib)."""
