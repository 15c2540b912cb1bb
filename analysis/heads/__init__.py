"""What each attention head of a trained run does: where it looks, and what is lost without it."""
