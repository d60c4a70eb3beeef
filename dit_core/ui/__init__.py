"""What the pages share: the form of a technique, charts, cached reads, the job panel, the view of a result."""
