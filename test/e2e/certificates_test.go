package e2e

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/examples/shop"
	"github.com/xinhari/xinhari/pkg/rpc"
	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
	"github.com/xinhari/xinhari/test/shopcluster"
)

// briefLife is how long brief certificates last; they are renewed every 20 s,
// give or take four.
const briefLife = 40 * time.Second

// holder is a pod that holds a certificate.
type holder struct {
	service string
	shopcluster.Pod
}

// holders returns the pods of a shop that hold certificates.
func holders(ctx context.Context, s *shopcluster.Shop) ([]holder, error) {
	var all []holder
	for service, want := range map[string]int{"orders": 1, "inventory": 3} {
		pods, err := s.Pods(ctx, service)
		if err != nil {
			return nil, err
		}
		if len(pods) != want {
			return nil, fmt.Errorf("%d pods of %s/%s are running, want %d", len(pods), s.Namespace, service, want)
		}
		for _, p := range pods {
			all = append(all, holder{service, p})
		}
	}
	return all, nil
}

// ask asks holders who they are. What they answer comes over connections that
// are made for it, so it also shows that their certificates are believed.
func ask(ctx context.Context, s *shopcluster.Shop, whom iter.Seq[holder]) (map[holder]*runtimev1.Identity, error) {
	all := map[holder]*runtimev1.Identity{}
	for h := range whom {
		answer, err := s.Status(ctx, h.service, h.Pod)
		if err != nil {
			return nil, err
		}
		all[h] = answer.GetIdentity()
	}
	return all, nil
}

// identities asks all holders of a shop.
func identities(ctx context.Context, s *shopcluster.Shop) (map[holder]*runtimev1.Identity, error) {
	whom, err := holders(ctx, s)
	if err != nil {
		return nil, err
	}
	return ask(ctx, s, slices.Values(whom))
}

// renewed says who does not yet have another certificate than before, or one
// that does not please.
func renewed(ctx context.Context, s *shopcluster.Shop, before map[holder]*runtimev1.Identity, pleases func(holder, *runtimev1.Identity) bool) error {
	now, err := ask(ctx, s, maps.Keys(before))
	if err != nil {
		return err
	}
	for h, i := range now {
		switch {
		case i.GetSerialNumber() == before[h].GetSerialNumber():
			return fmt.Errorf("%s has the certificate that it had", h.Name)
		case pleases != nil && !pleases(h, i):
			return fmt.Errorf("%s does not have the certificate that it should: %v", h.Name, i)
		}
	}
	return nil
}

func life(i *runtimev1.Identity) time.Duration {
	return i.GetNotAfter().AsTime().Sub(i.GetIssued().AsTime())
}

// setLife changes how long the certificates of a shop last.
func setLife(ctx context.Context, s *shopcluster.Shop, duration string) error {
	_, err := s.Kubectl(ctx, "patch", "xsvc", "orders", "inventory", "--type=merge", "--patch", `{"spec":{"identity":{"duration":"`+duration+`"}}}`)
	return err
}

// follow holds that certificates follow their Services at once.
func follow(t *testing.T, s *stage) {
	s.under(t, func(ctx context.Context) error {
		before, err := identities(ctx, s.brief)
		if err != nil {
			return err
		}
		for h, i := range before {
			if life(i) < 23*time.Hour {
				return fmt.Errorf("the certificate of %s lasts %s from the start", h.Name, life(i))
			}
		}
		if err := setLife(ctx, s.brief, briefLife.String()); err != nil {
			return err
		}
		if err := shopcluster.Apply(ctx, `
apiVersion: xinhari.com/v1alpha1
kind: Service
metadata: {name: stock, namespace: `+s.brief.Namespace+`}
spec:
  serviceAccountName: inventory
  selector: {app: inventory}
`); err != nil {
			return err
		}
		// Half of the old life is twelve hours.
		const most = 10 * time.Second
		return until(ctx, most, func(ctx context.Context) error {
			return renewed(ctx, s.brief, before, func(h holder, i *runtimev1.Identity) bool {
				names := []string{h.service + "." + s.brief.Namespace + ".svc"}
				if h.service == "inventory" {
					names = append(names, "stock."+s.brief.Namespace+".svc")
				}
				return life(i) <= briefLife && slices.Equal(slices.Sorted(slices.Values(i.GetDnsNames())), names)
			})
		})
	})
	pods, err := s.brief.Pods(t.Context(), "inventory")
	must(t, err)
	for _, p := range pods {
		if _, err := s.brief.Status(t.Context(), "stock", p); err != nil {
			t.Errorf("called as stock: %v", err)
		}
	}
}

// renew holds that brief certificates, and the connections that they proved,
// are replaced in time.
func renew(t *testing.T, s *stage) {
	const (
		least    = 90 * time.Second
		most     = 120 * time.Second
		renewals = 4
	)
	// Connections of before may last as long as the certificates of before, so there are to be others.
	for _, args := range [][]string{{"restart"}, {"status", "--timeout=90s"}} {
		_, err := s.brief.Kubectl(t.Context(), append([]string{"rollout", args[0], "deployment/inventory"}, args[1:]...)...)
		must(t, err)
	}
	var whom []holder
	must(t, until(t.Context(), 20*time.Second, func(ctx context.Context) error {
		var err error
		whom, err = holders(ctx, s.brief)
		return err
	}))
	serials := map[holder]map[string]bool{}
	conns := newConnections(t, s.brief)
	s.under(t, func(ctx context.Context) error {
		began := time.Now()
		return until(ctx, most, func(ctx context.Context) error {
			if err := conns.look(); err != nil {
				return err
			}
			now, err := ask(ctx, s.brief, slices.Values(whom))
			if err != nil {
				return err
			}
			fewest := renewals
			for h, i := range now {
				if i.GetError() != "" {
					t.Errorf("%s: %s", h.Name, i.GetError())
				}
				if serials[h] == nil {
					serials[h] = map[string]bool{}
				}
				serials[h][i.GetSerialNumber()] = true
				fewest = min(fewest, len(serials[h])-1)
			}
			if time.Since(began) < least || fewest < renewals {
				return fmt.Errorf("after %s a pod has renewed %d times, want %d", time.Since(began).Round(time.Second), fewest, renewals)
			}
			return nil
		})
	})
	for h, seen := range serials {
		t.Logf("%s had %d certificates", h.Name, len(seen))
	}
	// A connection is replaced at half of what is left of the certificates.
	if count, longest := conns.count(), conns.longest(); count < 3*renewals || longest > briefLife/2+5*time.Second {
		t.Errorf("orders had %d connections to inventory, of which one lasted %s: want %d at least, and half of %s at most", count, longest, 3*renewals, briefLife)
	} else {
		t.Logf("orders had %d connections to inventory, of which the longest lasted %s", count, longest.Round(time.Second))
	}
}

// modes holds that who calls without TLS is served while the Service says so,
// and only then, and that others do not notice.
func modes(t *testing.T, s *stage) {
	pods, err := s.steady.Pods(t.Context(), "inventory")
	must(t, err)
	dial := func(p shopcluster.Pod) *grpc.ClientConn {
		cc, err := grpc.NewClient("passthrough:///"+p.IP+":8080", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rpc.JSON())))
		must(t, err)
		t.Cleanup(func() { _ = cc.Close() })
		return cc
	}
	reserve := func(ctx context.Context, cc *grpc.ClientConn) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		var answer shop.Reserved
		err := cc.Invoke(ctx, "/"+shop.ReserveMethod, &shop.Reservation{Article: "teapot", Quantity: 1}, &answer)
		return answer.For, err
	}
	refused := func(ctx context.Context) error {
		for _, p := range pods {
			if as, err := reserve(ctx, dial(p)); status.Code(err) != codes.Unavailable {
				return fmt.Errorf("plaintext at %s: served as %q, %w; want it refused", p.Name, as, err)
			}
		}
		return nil
	}
	set := func(ctx context.Context, mode string) error {
		_, err := s.steady.Kubectl(ctx, "patch", "xsvc", "inventory", "--type=merge", "--patch", `{"spec":{"identity":{"mode":"`+mode+`"}}}`)
		return err
	}
	s.under(t, func(ctx context.Context) error {
		if err := refused(ctx); err != nil {
			return err
		}
		if err := set(ctx, "Permissive"); err != nil {
			return err
		}
		const soon = 5 * time.Second
		var kept []*grpc.ClientConn
		for _, p := range pods {
			cc := dial(p)
			if err := until(ctx, soon, func(ctx context.Context) error {
				as, err := reserve(ctx, cc)
				if err == nil && as != "anonymous" {
					err = fmt.Errorf("served as %q", as)
				}
				cc.ResetConnectBackoff()
				return err
			}); err != nil {
				return fmt.Errorf("plaintext at %s, which is permissive: %w", p.Name, err)
			}
			kept = append(kept, cc)
		}
		if err := set(ctx, "Strict"); err != nil {
			return err
		}
		if err := until(ctx, soon, refused); err != nil {
			return err
		}
		for _, cc := range kept {
			if as, err := reserve(ctx, cc); err == nil {
				return fmt.Errorf("a plaintext connection that was there before is served as %q", as)
			}
		}
		return nil
	})
}
