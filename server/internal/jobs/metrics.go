package jobs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what an administrator sees of the engine.
type metrics struct {
	runs    *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	running *prometheus.GaugeVec
	workers *prometheus.GaugeVec
	late    *prometheus.GaugeVec
	errors  prometheus.Counter
}

// newMetrics makes them, and shows them where somebody looks.
func newMetrics(registry prometheus.Registerer, pools map[Kind]Pool) (*metrics, error) {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "d6tpipe_jobs_" + name, Help: help}, []string{"kind"})
	}
	m := &metrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "d6tpipe_jobs_total",
			Help: "Runs that ended, here; lost are those of other servers that were taken up."}, []string{"kind", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "d6tpipe_job_seconds", Help: "How long runs took.",
			Buckets: []float64{.01, .1, .5, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600}}, []string{"kind"}),
		running: gauge("running", "Runs that are at work here."),
		workers: gauge("workers", "How many can be at work here at a time."),
		late:    gauge("late_seconds", "For how long the task that waits longest for a worker has been due."),
		errors: prometheus.NewCounter(prometheus.CounterOpts{Name: "d6tpipe_jobs_errors_total",
			Help: "How often the scheduler could not do its own work, such as asking the database."}),
	}
	for kind, p := range pools {
		m.workers.WithLabelValues(string(kind)).Set(float64(p.Workers))
		m.running.WithLabelValues(string(kind))
		m.late.WithLabelValues(string(kind))
		m.seconds.WithLabelValues(string(kind))
		for _, o := range outcomes {
			m.runs.WithLabelValues(string(kind), string(o))
		}
	}
	for i, c := range m.all() {
		if registry == nil {
			break
		}
		if err := registry.Register(c); err != nil {
			for _, c := range m.all()[:i] {
				registry.Unregister(c)
			}
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.runs, m.seconds, m.running, m.workers, m.late, m.errors}
}

func (m *metrics) unregister(registry prometheus.Registerer) {
	for _, c := range m.all() {
		if registry != nil {
			registry.Unregister(c)
		}
	}
}

func (m *metrics) begin(kind Kind) { m.running.WithLabelValues(string(kind)).Inc() }

func (m *metrics) end(kind Kind, o outcome, took time.Duration) {
	m.running.WithLabelValues(string(kind)).Dec()
	m.seconds.WithLabelValues(string(kind)).Observe(took.Seconds())
	m.ended(kind, o, 1)
}

func (m *metrics) ended(kind Kind, o outcome, n int) {
	m.runs.WithLabelValues(string(kind), string(o)).Add(float64(n))
}
