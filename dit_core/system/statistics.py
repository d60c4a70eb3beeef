"""Quantiles that confidence intervals need."""

from scipy.special import ndtri, stdtrit


def student_quantile(degrees_of_freedom: int, confidence: float = 0.95) -> float:
    """Return the two-sided quantile of Student's t distribution.

    A mean of n values with standard error s has the confidence interval mean ± s * student_quantile(n - 1).
    """
    return float(stdtrit(degrees_of_freedom, (1 + confidence) / 2))


def normal_quantile(share: float) -> float:
    """Return the value that a standard normal variable is below with this probability."""
    return float(ndtri(share))
