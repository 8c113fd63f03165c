//! What a run leaves behind for people and scripts: the results CSV, the summary, the metrics.
