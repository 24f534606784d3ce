"""Gandhi and Jain's tables I to IV as printed there, to stand beside ours. Used by docs/fooling.py.

Table I has precision and recall twice: of fakes and of reals. Its average row does not fit the four rows above it and
is left out.
"""

from __future__ import annotations

TABLE1 = {
    "vgg": "99.7 | 99.7 | 99.7 | 99.8 | 99.9 | 99.8",
    "resnet": "93.2 | 95.4 | 95.2 | 97.9 | 91.5 | 91.1",
    "lipschitz5": "95.0 | 99.5 | 99.3 | 99.2 | 90.8 | 91.5",
    "lipschitz50": "96.6 | 91.4 | 96.8 | 94.1 | 98.6 | 91.8",
    "lipschitz500": "89.9 | 92.3 | 85.3 | 90.6 | 84.4 | 87.5",
    "lipschitz5000": "96.2 | 98.0 | 94.2 | 99.1 | 94.5 | 98.1",
    "blurred": "99.9 | 98.9 | 98.9 | 98.5 | 98.7 | 98.5",
}
"""Per cent, in the order in which they are printed. They do not agree throughout: the data-augmented network's accuracy
is above both of its recalls, and Table II's accuracy on fakes stands in changing columns."""

TABLE2 = {
    "vgg": (99.7, 8.9, 0.0, 26.6, 0.0),
    "resnet": (95.4, 20.8, 7.5, 4.6, 0.0),
    "lipschitz5": (99.3, 42.2, 26.5, 14.5, 0.0),
    "lipschitz50": (91.4, 17.8, 12.7, 6.2, 0.0),
    "lipschitz500": (90.6, 53.2, 9.0, 19.8, 0.0),
    "lipschitz5000": (94.2, 12.8, 1.9, 16.7, 2.2),
    "blurred": (98.9, 17.0, 2.2, 3.8, 0.1),
}
"""Per cent of fakes called fake: unperturbed, FGSM black box, white box, Carlini-Wagner black box, white box."""

COLUMNS2 = ("unperturbed", "fgsm_blackbox", "fgsm_whitebox", "cw_blackbox", "cw_whitebox")

TABLE3 = {
    ("Deep Image Prior", 0.5): "accuracy 97.0, AUROC 99.2, fake recall 100, real recall 70",
    ("Deep Image Prior", 0.25): "accuracy 97.0, AUROC 99.2, fake recall 97.8, real recall 90",
    ("Baseline", 0.5): "accuracy 60.0, AUROC 41.9, fake recall 55.5, real recall 100",
}
"""As its text and table say them; 100 pictures, 10 of them real."""
