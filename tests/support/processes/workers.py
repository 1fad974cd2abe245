"""Jobs for worker processes: spawned workers import them by the name of this file."""

import os
import time


def squares():
    def work(job, tell):
        tell(("half", job))
        return job * job

    return work


def failing():
    def work(job, _):
        raise OverflowError(f"job {job}")

    return work


def dying():
    def work(_job, _tell):
        os._exit(9)

    return work


def sleeping():
    def work(_job, tell):
        tell(os.getpid())
        time.sleep(60)

    return work


def naming():
    def work(_job, tell):
        tell(os.getpid())

    return work
