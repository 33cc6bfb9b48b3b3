"""How much of an owner's pixels can be read from what it sends: a ridge regression of someone who knows some pairs.

recovered(message[train], pixel[train], message[test], pixel[test])        # share of variance, 1: all of it
"""

from __future__ import annotations

import numpy as np

STRENGTHS = (1e-2, 1.0, 1e2, 1e4)  # of the penalty


def recovered(known: np.ndarray, values: np.ndarray, other: np.ndarray, wanted: np.ndarray) -> float:
    """R2 on (other, wanted) of a ridge regression from messages (n, ...) to pixels (n, channels), fitted on (known, values).

    The features are standardised; the penalty is the best of `STRENGTHS` by generalised cross-validation on the known pairs. Channels
    count by their variance. A lower bound of what leaks: a network may recover more. Below 0 it is worse than the mean.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = (np.reshape(v, (len(v), -1)) for v in (known, other))
    model = make_pipeline(StandardScaler(), RidgeCV(STRENGTHS)).fit(x, values)
    return float(r2_score(wanted, model.predict(y), multioutput="variance_weighted"))
