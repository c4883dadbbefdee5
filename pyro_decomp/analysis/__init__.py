"""What a trained run knows: codes, draws, likelihoods, scores, evaluations and pictures.

Never here: a change of the run's parameters, or a formula of arrays alone (`metrics`, `plots`).
"""
