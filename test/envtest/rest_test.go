package envtest

import (
	"fmt"
	"testing"

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
	eventually(t, func() string {
		for _, name := range []string{"service", "namespace"} {
			if got := reconciled(t)[name] - looked[name]; got < 10 {
				return fmt.Sprintf("controller %s looked at %v objects", name, got)
			}
		}
		if busy := pending(t); busy > 0 {
			return fmt.Sprintf("%v objects are waiting or in work", busy)
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

// abandoned is how many objects waited in the queues of operators that died, whose gauges stay as they are.
var abandoned float64

// pending returns how many objects wait or are in work.
func pending(t *testing.T) float64 {
	t.Helper()
	total := -abandoned
	gather(t, func(metric, _ string, value float64) {
		if metric == "workqueue_depth" || metric == "controller_runtime_active_workers" {
			total += value
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
