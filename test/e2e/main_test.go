// Package e2e holds that nothing fails while identity changes: the chart, the
// operator and the example shop on a devcluster, under load, while certificates,
// roots, issuers and operators are replaced and the API server is away.
//
// It promises nothing to other packages. `make test-e2e` runs it, or with a
// built bin/:
//
//	bin/devcluster run --images bin -- go test -v ./test/e2e
//
// With -short the API server is away for half a minute instead of five.
package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/xinhari/xinhari/test/devcluster"
	"github.com/xinhari/xinhari/test/shopcluster"
)

const (
	chart     = "../../charts/xinhari"
	manifests = "../../examples/shop/deploy"

	rate = 500 // calls a second in each shop

	// patience is how long a call may take: a machine that stands still for a
	// second is not what is tested, and a connection that is lost is an error at once.
	patience = 5 * time.Second
)

// TestMain fails outside of a devcluster: tests that show nothing are not to
// pass.
func TestMain(m *testing.M) {
	if !devcluster.Running() {
		fmt.Fprintln(os.Stderr, "test/e2e needs a devcluster with the programs of bin/ in it: run `make test-e2e`, or `bin/devcluster run --images bin -- go test ./test/e2e`")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// stage is two shops under load.
type stage struct {
	steady  *shopcluster.Shop // certificates last a day
	brief   *shopcluster.Shop // certificates are brief from the first test on
	figures []figure
}

// open installs the operator and the shops.
func open(t *testing.T) *stage {
	ctx := t.Context()
	if err := shopcluster.InstallOperator(ctx, chart); err != nil {
		t.Fatal(err)
	}
	s := &stage{
		steady: &shopcluster.Shop{Namespace: "shop", Rate: rate, Timeout: patience},
		brief:  &shopcluster.Shop{Namespace: "kiosk", Rate: rate, Timeout: patience},
	}
	for _, shop := range s.shops() {
		t.Cleanup(shop.Close)
		if err := shop.Open(ctx, manifests); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *stage) shops() []*shopcluster.Shop { return []*shopcluster.Shop{s.steady, s.brief} }

// TestIdentity runs the scenarios one after the other, in one cluster.
func TestIdentity(t *testing.T) {
	s := open(t)
	for _, scenario := range []struct {
		name string
		run  func(*testing.T, *stage)
	}{
		{"a shorter life and another name are followed at once", follow},
		{"certificates renew every 20 s", renew},
		{"Strict, Permissive and Strict again", modes},
		{"operators restart", restart},
		{"the root rotates, and in each phase the leader is killed", rotate},
		{"the installer brings a CA", bring},
		{"the installer brings an intermediate CA", bringIntermediate},
		{"the API server is away", outage},
	} {
		t.Run(scenario.name, func(t *testing.T) { scenario.run(t, s) })
	}
	t.Run("what was asked of the API server", audited)
	t.Run("no private key is written", func(t *testing.T) { noKeys(t, s) })
	s.print(t)
}

// must fails the test at an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func operatorKubectl(ctx context.Context, args ...string) (string, error) {
	return shopcluster.Run(ctx, "kubectl", append([]string{"-n", shopcluster.OperatorNamespace}, args...)...)
}
