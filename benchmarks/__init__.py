"""Speed, memory, agreement and quality of edgevad, measured. Run them with scripts/bench."""
