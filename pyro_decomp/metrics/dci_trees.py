"""DCI with boosted trees for the importance of codes."""

import numpy as np

from pyro_decomp import arguments
from pyro_decomp.metrics.arrays import as_codes, as_factors
from pyro_decomp.metrics.dci import completeness, disentanglement
from pyro_decomp.metrics.held_out import held_out_split
from pyro_decomp.metrics.scikit import scikit
from pyro_decomp.metrics.score import Score


def dci_trees(
    codes: object,
    factors: object,
    *,
    num_rounds: int = 100,
    held_out: float = 1 / 3,
    seed: int = 0,
) -> Score:
    """DCI disentanglement, with completeness and informativeness beside it, by boosted trees.

    R_jk is the importance of code j to gradient-boosted trees that classify factor k: the share of
    impurity that its splits take away, scikit-learn's ``GradientBoostingClassifier`` at its
    defaults. This is the large study's variant; scores by trees and by lasso do not compare. It is
    slow: a tree a round and a value of each factor, minutes for 10,000 rows and dSprites' factors.
    For the same reason there is no interval.

    Args:
        codes: [n, d], one row a datum.
        factors: [n, k] whole numbers; at least two that vary; constant columns are left out.
        num_rounds: Rounds of boosting.
        held_out: Share of rows that score informativeness.
        seed: Of the split and the trees.

    Returns:
        The score is :func:`.disentanglement`; in the details are ``completeness``, the
        ``importance`` [d, k], and ``informativeness`` [k], the accuracy on rows held out.

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), fewer than two factors vary, there
            are too few rows, or scikit-learn is not installed.
        ValueError: ``num_rounds`` is less than 1, or ``held_out`` is not between 0 and 1.

    Reference:
        Eastwood & Williams, A framework for the quantitative evaluation of disentangled
        representations, 2018, https://openreview.net/forum?id=By-7dz-AZ; trees as in Locatello et
        al., 2019, appendix B, https://arxiv.org/abs/1811.12359.
    """
    arguments.annotated(dci_trees, locals(), seed=0)
    if num_rounds < 1:
        raise ValueError(f"num_rounds: expected at least 1, got {num_rounds}")
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z), compared=True)
    train, test = held_out_split(len(z), held_out, seed)
    importance = np.zeros([z.shape[1], len(levels.columns)])
    accuracy = np.zeros(len(levels.columns))
    for k, labels in enumerate(levels.levels.T):
        if len(np.unique(labels[train])) == 1:  # nothing to learn
            accuracy[k] = (labels[test] == labels[train[0]]).mean()
            continue
        trees = scikit("ensemble").GradientBoostingClassifier(
            n_estimators=num_rounds, random_state=seed
        )
        trees.fit(z[train], labels[train])
        importance[:, k] = trees.feature_importances_
        accuracy[k] = trees.score(z[test], labels[test])
    return Score(
        name="dci_trees",
        value=disentanglement(importance),
        no_interval="halves of the rows would take minutes each",
        variant={
            "importance": "gradient-boosted trees",
            "num_rounds": num_rounds,
            "held_out": held_out,
            "num_rows": len(z),
            "factors": levels.columns,
            "seed": seed,
        },
        details={
            "completeness": completeness(importance),
            "importance": importance,
            "informativeness": accuracy,
        },
    )
