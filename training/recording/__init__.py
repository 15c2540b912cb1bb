"""What a run tells as it trains: rows of metrics, and a trace."""
