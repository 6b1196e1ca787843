"""The default head: label queries, several views, description priors."""
