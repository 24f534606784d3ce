"""First Order Motion Model (Siarohin et al., NeurIPS 2019, https://arxiv.org/abs/2003.00196).

Original code: github.com/AliaksandrSiarohin/first-order-model, MIT. Key names and shapes are those of the public
`vox-cpk.pth.tar`. Images are (N, 3, H, W) RGB in [0, 1]; key points are (x, y) in [-1, 1] over pixel centres.
Differences on purpose: ordinary batch norms (equal in eval mode), nothing in place, 2x2 matrices are inverted by hand
(so that the graph exports), and `align_corners` is an option of every network: the published weights were trained
when `grid_sample` aligned corners, today's default does not.
"""
