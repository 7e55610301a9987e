"""The PromQL of the dashboards.

Runs come and go, so the queries read the last value of their series inside the selected time range (`$__range`). If a
configuration was measured more than once, they read the number of the run that started last. The operator's series
exist as long as their study and are read directly: what they hold is shown however long ago it was measured.
`namespace` on the operator's series is the study's: scrape the operator with `honorLabels: true`, as for
kube-state-metrics, or it would be the operator's own.
"""

# The values of the dashboard's variables: one study, some of its pools.
STUDY = 'namespace="$namespace", study="$study"'
POOLS = f'{STUDY}, pool=~"$pool"'
_ENDED = f'{POOLS}, outcome!="running"'
_CONFIGURATION = "pool, gpu_count, batch_size"
_TRIAL = "pool, run, trial, gpu_count, batch_size"
_THROUGHPUT = "infpop_trial_throughput_tokens_per_second"
_POD = "run, job, instance"  # the labels that identify a scraped Pod


def last(metric: str, matchers: str = POOLS) -> str:
    """Return the last value of each series inside the selected time range, also of runs that ended."""
    return f"last_over_time({metric}{{{matchers}}}[$__range])"


def median_by(labels: str, vector: str) -> str:
    """Return the median of the series that differ in other labels: for a series that was scraped twice, its value."""
    return f"quantile by ({labels}) (0.5, {vector})"


def best_by(labels: str, metric: str, matchers: str = POOLS) -> str:
    """Return a metric of the operator with one value for each study and pool, even if it is scraped several times."""
    return f"max by ({labels}) ({metric}{{{matchers}}})"


def by_configuration(metric: str) -> str:
    """Return a metric of trials with one value for each pool, GPU count and batch size: that of the newest run."""
    return median_by(_CONFIGURATION, _newest(metric, _CONFIGURATION))


def landscape() -> str:
    """Return the throughput of each configuration: of the newest round from the study's status, however old it is.

    Where the status has no number (it is being measured, or only an earlier round measured it), the number is what was
    scraped from its newest run in the selected time range.
    """
    final = best_by(_CONFIGURATION, "infpop_study_cell_throughput_tokens_per_second")
    return f"{final} or {by_configuration(_THROUGHPUT)}"


def what_is_tuned() -> str:
    """Return 1 for each pool, with its GPU model and the study's model and engine as labels."""
    of_study = f"max by (namespace, study, model, engine) (infpop_study_info{{{STUDY}}})"
    of_pool = best_by("namespace, study, pool, gpu", "infpop_study_pool_info")
    return f"{of_pool} * on (namespace, study) group_left (model, engine) {of_study}"


def by_trial(metric: str) -> str:
    """Return a metric of trials with one value for each trial of each run."""
    return median_by(_TRIAL, _newest(metric, "run"))


def trial_states() -> str:
    """Return 1 for each trial, with its last scraped state as the label `state`."""
    return f"group by ({_TRIAL}, state) ({_newest('infpop_trial_state', 'run')} == 1)"


def _newest(metric: str, labels: str) -> str:
    """Return the last values of a metric of trials; among equal `labels`, those of the Pod that started last.

    A run's Pod may have been replaced by another one, which starts again under the same run name.
    """
    values = last(metric)
    start_times = f"max by ({_POD}) ({last('infpop_run_start_time_seconds')})"
    began = f"({values} * 0 + on ({_POD}) group_left () {start_times})"
    return f"({values} and ({began} == on ({labels}) group_left () max by ({labels}) {began}))"


def measure_seconds_by_run() -> str:
    """Return the total measuring time of the trials of each run."""
    return f"sum by (run) ({median_by('run, trial', last('infpop_trial_measured_seconds'))})"


def conditions() -> str:
    """Return 1 for each condition of the study that is true."""
    return f"max by (condition) (infpop_study_condition{{{STUDY}}}) == 1"


def ended_trials() -> str:
    """Return how many trials of the newest rounds have ended, with any outcome."""
    return f"sum({best_by('pool, outcome, reason', 'infpop_study_trials', _ENDED)})"


def gpus_of_runs(metric: str) -> str:
    """Return a metric of the DCGM exporter for the Pods of the study's runs, averaged by run.

    The exporter labels each GPU with its Pod; scraped without `honorLabels` the labels of the Pod and its namespace are
    `exported_pod` and `exported_namespace`. A Pod's name is its run's name with a hyphen and five more characters.
    """
    plain = f'{metric}{{namespace="$namespace", pod!="", exported_pod=""}}'
    renamed = f'{metric}{{exported_namespace="$namespace", exported_pod!=""}}'
    of_runs = f"{_with_run(plain, 'pod')} or {_with_run(renamed, 'exported_pod')}"
    return f"avg by (pool, run) (({of_runs}) * on (run) group_left (pool) {_runs()})"


def _with_run(vector: str, label: str) -> str:
    return f'label_replace({vector}, "run", "$1", "{label}", "(.+)-[a-z0-9]+")'


def _runs() -> str:
    """Return 1 for each scraped run of the study."""
    return f"group by (run, pool) (infpop_run_state{{{POOLS}}})"


def rate_by(labels: str, metric: str, matchers: str = "") -> str:
    """Return the rate of a counter, per second."""
    return f"sum by ({labels}) (rate({metric}{{{matchers}}}[$__rate_interval]))"


def quantile_of(level: float, histogram: str) -> str:
    """Return a quantile of a histogram's recent observations."""
    return f"histogram_quantile({level:g}, sum by (le) (rate({histogram}_bucket[$__rate_interval])))"


def or_zero(vector: str) -> str:
    """Return `vector`, or 0 where it is empty while an operator is scraped; no data without an operator."""
    return f"{vector} or on () (0 * max(infpop_operator_queue_depth))"
