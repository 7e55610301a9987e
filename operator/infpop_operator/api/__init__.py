"""The public API: what a user writes (`ThroughputStudy`), what InfPop answers (`StudyStatus`), and the way to core."""
