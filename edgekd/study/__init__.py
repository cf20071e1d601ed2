"""`edgekd study`: does distilling pay, for how few labels, and how sure is that?"""

from edgekd.study.study import StudyResult, run

__all__ = ["StudyResult", "run"]
