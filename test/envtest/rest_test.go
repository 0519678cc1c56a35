package envtest

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// testRest starts another operator on what is there. When it has looked at everything, it has written nothing.
func testRest(t *testing.T, stop func()) {
	stop()
	w := adminClient(t)
	var services xinhariv1alpha1.ServiceList
	if err := w.List(t.Context(), &services); err != nil {
		t.Fatal(err)
	}
	if len(services.Items) < 10 {
		t.Fatalf("there are %d Services only", len(services.Items))
	}
	before := len(requests(t))
	looked := reconciled(t)
	startOperator(t)
	// Queues are at rest when nothing was looked at for some time. Their gauges do not tell: those of operators that died
	// stay as they were.
	const quiet = 3 * time.Second
	var last map[string]float64
	var since time.Time
	eventually(t, func() string {
		now := reconciled(t)
		if now["keypair"] < looked["keypair"]+2 {
			return "nobody looked at a Secret"
		}
		delete(now, "keypair") // it looks at its Secrets again and again
		if !maps.Equal(now, last) {
			last, since = now, time.Now()
		}
		for _, name := range []string{"service", "namespace"} {
			if got := now[name] - looked[name]; got < 10 {
				return fmt.Sprintf("controller %s looked at %v objects", name, got)
			}
		}
		if time.Since(since) < quiet {
			return "the operator still works"
		}
		return ""
	})
	for _, e := range requests(t)[before:] {
		if e.write() && !e.election() && e.ResponseStatus.Code < 300 {
			t.Errorf("at rest: %s %s/%s %s", e.Verb, e.ObjectRef.Namespace, e.ObjectRef.Resource, e.ObjectRef.Name)
		}
	}
}

// reconciled returns how often each controller looked at an object, in this process.
func reconciled(t *testing.T) map[string]float64 {
	t.Helper()
	total := map[string]float64{}
	gather(t, func(metric, controller string, value float64) {
		if metric == "controller_runtime_reconcile_total" {
			total[controller] += value
		}
	})
	return total
}

func gather(t *testing.T, visit func(metric, controller string, value float64)) {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			controller := ""
			for _, label := range m.GetLabel() {
				if label.GetName() == "controller" {
					controller = label.GetValue()
				}
			}
			visit(family.GetName(), controller, m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
}

func testExactRights(t *testing.T) {
	granted := rights(chartRules(t))
	used := map[right]bool{}
	for _, e := range requests(t) {
		if e.ResponseStatus.Code == 403 {
			t.Errorf("the operator was forbidden to %s %+v", e.Verb, *e.ObjectRef)
			continue
		}
		for _, needed := range e.needs(t) {
			by, ok := grant(granted, needed)
			if !ok {
				t.Errorf("the operator could %s, which the chart does not grant", needed)
			}
			used[by] = true
		}
	}
	for r := range granted {
		// A watch begins with the list where the server can stream it, and needs the list of its own where it cannot.
		streamed := r
		streamed.Verb = "watch"
		if !used[r] && (r.Verb != "list" || !used[streamed]) {
			t.Errorf("the chart grants %s, which the operator did not need", r)
		}
	}
}
