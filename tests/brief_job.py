"""`python -m tests.brief_job`: a worker of real runs that are timed in one process, for few calls."""

from dit_core.jobs import runner, worker


def run_job(job_id: int) -> runner.JobEnding:
    from dit_core.measure import latency
    from dit_core.measure.interleaved import Plan

    latency.PROCESSES, latency.PLAN = 1, Plan(most_s=0)
    return runner.run_job(job_id)


if __name__ == "__main__":
    from tests import brief_job  # not this __main__, which the jobs' processes do not have

    worker.main(brief_job.run_job)
