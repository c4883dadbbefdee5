"""What a trained run knows: codes, draws, scores, pictures; never a change of its parameters."""
