"""Quantities in the words and units of a picture's axes."""

OF_TERMS = {
    "elbo": "ELBO (nats)",
    "objective": "objective (nats)",
    "log_likelihood": "log likelihood (nats)",
    "kl": "KL(q(z|x) \N{DOUBLE VERTICAL LINE} p(z)) (nats)",
    "mutual_information": "I(x; z) (nats)",
    "index_code_information": "I(n; z) (nats)",
    "total_correlation": "TC (nats)",
    "dimensionwise_kl": "dimension-wise KL (nats)",
    "marginal_kl": "KL(q(z) \N{DOUBLE VERTICAL LINE} p(z)) (nats)",
}
OF_MEASURES = {
    **OF_TERMS,
    "divergence": "KL(p(z) \N{DOUBLE VERTICAL LINE} q(z)) (nats)",
    "importance_weighted_log_px": "log p(x) (nats)",
    "effective_sharing": "data sharing a code",
    "mig": "MIG",
    "density_mig": "MIG",
    "factor_vae_score": "FactorVAE score",
    "beta_vae_score": "\N{GREEK SMALL LETTER BETA}-VAE score",
    "sap": "SAP",
    "irs": "IRS",
    "nmi": "NMI",
    "ari": "ARI",
    "knn_accuracy": "kNN accuracy",
    "dci_lasso": "DCI (lasso)",
    "dci_trees": "DCI (trees)",
}


def label(quantity: str) -> str:
    """Name a quantity on an axis, with its unit where that is known.

    >>> label("train.mig"), label("test.elbo"), label("elbo"), label("divergence")
    ('MIG', 'ELBO (nats), test data', 'ELBO (nats), last step', 'divergence, last step')
    """
    part, dot, name = quantity.partition(".")
    if not dot:
        return f"{OF_TERMS.get(quantity, quantity.replace('_', ' '))}, last step"
    words = OF_MEASURES.get(name, name.replace("_", " "))
    return f"{words}, test data" if part == "test" else words
