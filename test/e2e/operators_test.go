package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/runtime/runtimev1"
	"github.com/xinhari/xinhari/test/devcluster"
	"github.com/xinhari/xinhari/test/shopcluster"
)

// restart holds that operators come and go unnoticed: the only one, then both
// of two, which the scenarios after it have as well.
func restart(t *testing.T, s *stage) {
	s.under(t, func(ctx context.Context) error {
		first, err := shopcluster.Operators(ctx)
		if err != nil {
			return err
		}
		if err := shopcluster.RestartOperator(ctx); err != nil {
			return err
		}
		if err := shopcluster.ScaleOperator(ctx, 2); err != nil {
			return err
		}
		second, err := shopcluster.Operators(ctx)
		if err != nil {
			return err
		}
		if err := shopcluster.RestartOperator(ctx); err != nil {
			return err
		}
		third, err := shopcluster.Operators(ctx)
		if err != nil {
			return err
		}
		if len(first) != 1 || len(third) != 2 || slices.ContainsFunc(second, func(p shopcluster.Pod) bool {
			return slices.Contains(first, p) || slices.Contains(third, p)
		}) {
			return fmt.Errorf("operators were %v, then %v, then %v: want others each time", first, second, third)
		}
		before, err := identities(ctx, s.brief)
		if err != nil {
			return err
		}
		return until(ctx, briefLife, func(ctx context.Context) error { return renewed(ctx, s.brief, before, nil) })
	})
}

// obstacle keeps operators from exchanging the issuer that signs. Without it
// nobody could be killed between the decision to and the exchange.
const obstacle = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: obstacle}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - {apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [secrets], resourceNames: [xinhari-signing]}
  matchConditions:
    - {name: operator, expression: 'request.userInfo.username == "system:serviceaccount:xinhari-system:xinhari-operator"'}
  validations:
    - {expression: "false", message: not now}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: obstacle}
spec: {policyName: obstacle, validationActions: [Deny]}
`

// rotate holds that a new root comes, and the old one goes, whoever dies, and
// that nobody is left behind who does not hear of it.
func rotate(t *testing.T, s *stage) {
	deaf, err := s.steady.AnyPod(t.Context(), "inventory")
	must(t, err)
	heard := false
	killed := map[string]string{}
	t.Cleanup(func() {
		must(t, removeObstacle(context.WithoutCancel(t.Context())))
	})
	step := func(ctx context.Context, now shopcluster.Trust) error {
		t.Log(now)
		if !heard && now.Phase == "Distributing" && strings.Contains(now.String(), "waits for 1 of ") && strings.Contains(now.String(), deaf.Name) {
			devcluster.Heal(t, s.steady.Namespace+"/"+deaf.Name)
			heard = true
			t.Logf("healed %s", deaf.Name)
		}
		if killed[now.Phase] != "" || now.Phase == "Stable" {
			return nil
		}
		if now.Phase == "Distributing" {
			if err := shopcluster.Apply(ctx, obstacle); err != nil {
				return err
			}
		}
		leader, err := shopcluster.Leader(ctx)
		if err != nil {
			return err
		}
		if _, err := shopcluster.Kill(leader, "operator"); err != nil {
			return err
		}
		killed[now.Phase] = leader.Name
		t.Logf("killed %s", leader.Name)
		if now.Phase == "Switching" {
			return removeObstacle(ctx)
		}
		return nil
	}
	s.replaced(t, "", func(ctx context.Context) error {
		devcluster.Cut(t, s.steady.Namespace+"/"+deaf.Name, "kube-apiserver")
		return shopcluster.StartRotation(ctx)
	}, step)
	if !heard {
		t.Errorf("the rotation did not wait for %s, which was cut off the API server", deaf.Name)
	}
	if diff := cmp.Diff([]string{"Distributing", "Retiring", "Switching"}, slices.Sorted(maps.Keys(killed))); diff != "" {
		t.Errorf("phases in which the leader was killed (-want +got):\n%s", diff)
	}
}

func removeObstacle(ctx context.Context) error {
	_, err := shopcluster.Run(ctx, "kubectl", "delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", "obstacle", "--ignore-not-found")
	return err
}

// replaced begins a replacement of the root, waits for its end, and holds that
// everybody has a new certificate then and trusts the new root alone, whose
// hash is want if that is known.
func (s *stage) replaced(t *testing.T, want string, begin func(context.Context) error, step func(context.Context, shopcluster.Trust) error) {
	t.Helper()
	s.under(t, func(ctx context.Context) error {
		trusted, err := shopcluster.TrustNow(ctx)
		if err != nil {
			return err
		}
		before := map[*shopcluster.Shop]map[holder]*runtimev1.Identity{}
		for _, shop := range s.shops() {
			if before[shop], err = identities(ctx, shop); err != nil {
				return err
			}
		}
		if err := begin(ctx); err != nil {
			return err
		}
		if err := shopcluster.WaitRotated(ctx, trusted, func(now shopcluster.Trust) error { return step(ctx, now) }); err != nil {
			return err
		}
		now, err := shopcluster.TrustNow(ctx)
		if err != nil {
			return err
		}
		if want != "" && now.BundleHash != want {
			return fmt.Errorf("bundle %s is trusted, want %s", now.BundleHash, want)
		}
		for shop, before := range before {
			if err := until(ctx, 10*time.Second, func(ctx context.Context) error {
				return renewed(ctx, shop, before, func(_ holder, i *runtimev1.Identity) bool { return i.GetBundleHash() == now.BundleHash })
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

// bring holds that the installer may overwrite the operator's CA.
func bring(t *testing.T, s *stage) {
	root := newCA(t, "Root of our own", nil)
	s.replaced(t, identity.BundleHash([]*x509.Certificate{root.cert}), root.install, logged(t))
}

// bringIntermediate holds that it may be an intermediate, whose root the
// operator never sees the key of.
func bringIntermediate(t *testing.T, s *stage) {
	root := newCA(t, "Root that stays in the safe", nil)
	between := newCA(t, "Issuer for the cluster", root)
	s.replaced(t, identity.BundleHash([]*x509.Certificate{root.cert}), between.install, logged(t))
}

func logged(t *testing.T) func(context.Context, shopcluster.Trust) error {
	return func(_ context.Context, now shopcluster.Trust) error {
		t.Log(now)
		return nil
	}
}

// ca is a certificate authority that an installer has.
type ca struct {
	cert, root *x509.Certificate
	key        *ecdsa.PrivateKey
}

func newCA(t *testing.T, name string, parent *ca) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	signer, by := key, template
	if parent != nil {
		signer, by = parent.key, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), signer)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	made := &ca{cert: cert, root: cert, key: key}
	if parent != nil {
		made.root = parent.root
	}
	return made
}

// install puts the CA where the operator finds it.
func (c *ca) install(ctx context.Context) error {
	key, err := pemfile.EncodeKey(c.key)
	if err != nil {
		return err
	}
	encode := base64.StdEncoding.EncodeToString
	_, err = operatorKubectl(ctx, "patch", "secret", "xinhari-ca", "--type=merge", "--patch", fmt.Sprintf(`{"data":{"tls.crt":%q,"tls.key":%q,"ca.crt":%q}}`,
		encode(pemfile.EncodeCertificates(c.cert)), encode(key), encode(pemfile.EncodeCertificates(c.root))))
	return err
}

// outage holds that who has a certificate needs no API server, and that who
// was without one goes on where it was.
func outage(t *testing.T, s *stage) {
	away := 5 * time.Minute
	if testing.Short() {
		away = 30 * time.Second
	}
	before, err := identities(t.Context(), s.brief)
	must(t, err)
	must(t, setLife(t.Context(), s.brief, "24h"))
	must(t, until(t.Context(), 10*time.Second, func(ctx context.Context) error {
		return renewed(ctx, s.brief, before, func(_ holder, i *runtimev1.Identity) bool { return life(i) > 23*time.Hour })
	}))
	before, err = identities(t.Context(), s.brief)
	must(t, err)
	s.under(t, func(ctx context.Context) error {
		devcluster.Stop(t, "kube-apiserver")
		if err := shopcluster.Sleep(ctx, away); err != nil {
			return err
		}
		now, err := ask(ctx, s.brief, maps.Keys(before))
		if err != nil {
			return err
		}
		for h, i := range now {
			if i.GetSerialNumber() != before[h].GetSerialNumber() {
				return fmt.Errorf("%s got a certificate without an API server", h.Name)
			}
		}
		if _, err := operatorKubectl(ctx, "get", "pods", "--request-timeout=2s"); err == nil {
			return fmt.Errorf("the API server was not away")
		}
		devcluster.Start(t, "kube-apiserver")
		if err := shopcluster.WaitReady(ctx); err != nil {
			return err
		}
		if err := setLife(ctx, s.brief, "23h"); err != nil {
			return err
		}
		return until(ctx, time.Minute, func(ctx context.Context) error {
			return renewed(ctx, s.brief, before, func(_ holder, i *runtimev1.Identity) bool { return life(i) <= 23*time.Hour })
		})
	})
}
