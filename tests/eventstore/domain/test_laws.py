"""The laws hold for random histories of every kind of stream.

All laws look at each history, since drawing one costs more than looking; the law that is broken
is named in the traceback. `make laws` looks at twenty times as many.
"""

from typing import Any

from hypothesis import given, settings

from reactorcide.tests.eventstore.domain.job_strategies import job_histories
from reactorcide.tests.eventstore.domain.laws import JOB_LAWS, LAWS, JobHistory
from reactorcide.tests.eventstore.domain.strategies import (
    History,
    access_histories,
    projection_histories,
    token_histories,
    user_histories,
    worker_histories,
)
from reactorcide.tests.support.effort import examples


@settings(max_examples=examples(150), deadline=None)
@given(job_histories())
def test_jobs_keep_the_laws(history: JobHistory) -> None:
    """Whatever is asked of a job, in whatever order."""
    for law in (*LAWS, *JOB_LAWS):
        law(history)


@settings(max_examples=examples(50), deadline=None)
@given(token_histories())
def test_tokens_keep_the_laws(history: History[Any, Any, Any]) -> None:
    """Whatever is asked of a token, in whatever order."""
    for law in LAWS:
        law(history)


@settings(max_examples=examples(50), deadline=None)
@given(user_histories())
def test_users_keep_the_laws(history: History[Any, Any, Any]) -> None:
    """Whatever is asked of a user, in whatever order."""
    for law in LAWS:
        law(history)


@settings(max_examples=examples(50), deadline=None)
@given(worker_histories())
def test_workers_keep_the_laws(history: History[Any, Any, Any]) -> None:
    """Whatever is asked of a worker, in whatever order."""
    for law in LAWS:
        law(history)


@settings(max_examples=examples(50), deadline=None)
@given(projection_histories())
def test_projections_keep_the_laws(history: History[Any, Any, Any]) -> None:
    """Whatever is done to a table, in whatever order."""
    for law in LAWS:
        law(history)


@settings(max_examples=examples(50), deadline=None)
@given(access_histories())
def test_access_reports_keep_the_laws(history: History[Any, Any, Any]) -> None:
    """Whatever is reported, in whatever order."""
    for law in LAWS:
        law(history)
