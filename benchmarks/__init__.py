"""Speed, memory, agreement and how well anomalies are found, measured. Run them with scripts/bench."""
