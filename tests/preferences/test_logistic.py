"""The entropy of a choice is that of scipy."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy as scipy_entropy

from fspo.preferences.logistic import entropy


@given(arrays(np.float64, (5, 7), elements=st.floats(0, 1)))
def test_entropy_is_scipys(probabilities):
    expected = scipy_entropy(np.stack([probabilities, 1 - probabilities]), axis=0)
    assert entropy(probabilities) == pytest.approx(expected, abs=1e-9)
    assert entropy(np.array([[0.5]]))[0, 0] == pytest.approx(log(2))
