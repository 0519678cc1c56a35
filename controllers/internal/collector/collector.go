// Package collector registers the metrics of controllers, of which a process may have several of one kind: in tests, and
// where an operator starts again.
package collector

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Register makes a collector's metrics visible, and returns the one whose metrics are: that of an earlier controller of this
// process, if there is one.
func Register[C prometheus.Collector](to prometheus.Registerer, c C) (C, error) {
	err := to.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if earlier, ok := already.ExistingCollector.(C); ok {
			return earlier, nil
		}
	}
	return c, err
}
