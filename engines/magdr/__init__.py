"""MagDR's research side: attacked faces, calibration, baselines and tables. The runtime is stream_guard/magdr."""
