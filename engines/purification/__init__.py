"""Deep Image Prior against adversarial perturbations: an offline second opinion, with torch."""
