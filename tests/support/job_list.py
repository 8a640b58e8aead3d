"""Which delivery goes next as Postfix's SCHEDULER_README tells it: one list of jobs, looked through at each choice.

Plain and slow, to compare the real one with. Windows stay as they are, and all recipients are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pymta.qmgr.jobs import SlotRules


@dataclass(eq=False)
class ListedJob:
    """`waiting` counts entries by site, the next one's first."""

    name: str
    since: float
    waiting: dict[str, int]
    total: int = 0
    selected: int = 0
    available: int = 0
    used: int = 0
    level: int = 0
    parent: ListedJob | None = None
    children: list[ListedJob] = field(default_factory=list)

    @property
    def needed(self) -> int:
        return self.total - self.selected


@dataclass
class JobList:
    """`window` is how many deliveries to one site may run at once."""

    rules: SlotRules
    window: int
    jobs: list[ListedJob] = field(default_factory=list)
    busy: dict[str, int] = field(default_factory=dict)

    def submit(self, name: str, waiting: dict[str, int], now: float) -> None:
        self.jobs.append(ListedJob(name, now, dict(waiting), sum(waiting.values())))

    def next(self, now: float) -> tuple[str, str] | None:
        """The message and the site of the next delivery."""
        current = next((job for job in self.jobs if self.site(job)), None)
        if current is None:
            return None
        if self.rules.cost >= 2:
            current = self.preempt(current, now)
        site = self.site(current)
        assert site
        left = current.waiting.pop(site) - 1
        if left:
            current.waiting[site] = left
        current.selected += 1
        current.available += 1
        current.used += 1
        if not current.waiting:
            self.pop(current)
            self.jobs.remove(current)
        self.busy[site] = self.busy.get(site, 0) + 1
        return current.name, site

    def finished(self, site: str) -> None:
        self.busy[site] -= 1

    def site(self, job: ListedJob) -> str | None:
        return next((site for site in job.waiting if self.busy.get(site, 0) < self.window), None)

    def candidates(self, current: ListedJob) -> list[ListedJob]:
        slots = (current.total - current.selected + current.available) // self.rules.cost
        behind = self.jobs[self.jobs.index(current) + 1 :]
        return [job for job in behind if not job.children and self.site(job) and job.needed <= slots]

    def preempt(self, current: ListedJob, now: float) -> ListedJob:
        rules = self.rules
        if current.available <= 0 or current.total < rules.minimum * rules.cost:
            return current
        candidates = self.candidates(current)
        if not candidates:
            return current
        best = max(candidates, key=lambda job: (now - job.since + 1) / job.total)
        if current.available // rules.cost + rules.loan < best.needed * (100 - rules.discount) / 100:
            return current
        self.pop(best)
        self.jobs.remove(best)
        self.jobs.insert(self.jobs.index(current), best)
        best.parent, best.level = current, current.level + 1
        current.children.append(best)
        current.available -= best.needed * rules.cost
        best.used = -best.needed
        return best

    def pop(self, job: ListedJob) -> None:
        """Take a job from the stack that it is part of."""
        parent = job.parent
        if parent is not None:
            if job.level == parent.level + 1:
                parent.available -= job.used * self.rules.cost
            parent.children.remove(job)
            parent.children += job.children
        for child in job.children:
            child.parent = parent
        job.children, job.parent, job.level = [], None, 0
