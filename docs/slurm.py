"""Workers for `grade --scheduler` on a Slurm cluster: python docs/slurm.py NUMBER

Needs `pip install dask-jobqueue` beside the workbook, and the workbook on a file system that all nodes see. It says
where the scheduler is and stays until Ctrl-C. A place to start from: partition, account and hours are yours to fill in.
"""

import sys
import time

from dask_jobqueue import SLURMCluster
from distributed.security import Security

cluster = SLURMCluster(
    cores=4,
    processes=4,  # one student at a time each: a checker keeps state in its process
    memory="12GB",
    walltime="08:00:00",
    queue="CHANGE-ME",
    account="CHANGE-ME",
    # Whoever reaches a scheduler runs code in your name: keys for everybody who talks to it.
    security=Security.temporary(),
    shared_temp_directory="~/.workbook-keys",
    protocol="tls://",
    python=f"{sys.prefix}/bin/python",
)
cluster.scale(jobs=int(sys.argv[1]))
sys.stderr.write(f"{cluster.scheduler_address}\n")
while True:
    time.sleep(60)
