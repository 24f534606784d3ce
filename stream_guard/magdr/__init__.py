"""MagDR (Chen et al., CVPR 2021) at run time: masks of a face, distances, two detectors, a reconstructor; numpy."""
