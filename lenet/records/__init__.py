"""What a run leaves behind: its sealed record, its weights, the plan it belongs to."""
