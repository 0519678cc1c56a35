package envtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
	"github.com/xinhari/xinhari/controllers/signer/leaf"
	"github.com/xinhari/xinhari/controllers/trust"
	"github.com/xinhari/xinhari/internal/pemfile"
	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/filesource"
)

// testKeyPairs needs an operator that runs, stops it and starts another.
func testKeyPairs(t *testing.T, stop, start func()) {
	t.Run("a Service's key pair is in the Secret that it names", testPairMade)
	t.Run("what the certificate follows from changes", testPairFollows)
	t.Run("half of its life is over", testPairRenewed)
	t.Run("what others do to it is put right", testPairDrift)
	t.Run("someone else's Secret is left alone", testPairNotOwned)
	t.Run("in a namespace that is not granted nothing is asked", testPairNotGranted)
	t.Run("it goes when it is not wanted", func(t *testing.T) { testPairGoes(t, stop, start) })
	t.Run("a failure is told", testPairFails)
	t.Run("a rotation waits for its readers", func(t *testing.T) { testPairRotation(t, stop, start) })
}

// testPairRests leaves a Service with a Secret behind.
func testPairRests(t *testing.T) {
	w := newSecretWorld(t)
	w.service("resting", "selector: {app: resting}\nidentity: {secretName: resting}")
	w.pair("resting", anyPair)
	w.ready("resting")
}

// newSecretWorld returns the namespace in which the operator may write Secrets, in which there is no Service.
func newSecretWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, Client: adminClient(t), namespace: secretNamespace}
	var list xinhariv1alpha1.ServiceList
	if err := w.List(t.Context(), &list, client.InNamespace(w.namespace)); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) > 0 {
		t.Fatalf("Service %s is still there", list.Items[0].Name)
	}
	return w
}

// leave deletes the Services and Secrets of the namespace: no garbage collector runs here.
func (w *world) leave() {
	ctx := context.Background()
	if err := w.DeleteAllOf(ctx, &xinhariv1alpha1.Service{}, client.InNamespace(w.namespace)); err != nil {
		w.Error(err)
	}
	eventually(w.T, func() string {
		var list corev1.SecretList
		err := w.List(ctx, &list, client.InNamespace(w.namespace))
		if err == nil {
			err = w.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(w.namespace))
		}
		if err != nil || len(list.Items) > 0 { // one may have been made for a Service that the operator's cache still has
			return fmt.Sprintf("%d Secrets are left, %v", len(list.Items), err)
		}
		return ""
	})
}

// keys is what a Secret holds.
type keys struct {
	secret *corev1.Secret
	chain  []*x509.Certificate
	key    *ecdsa.PrivateKey
	roots  []*x509.Certificate
}

func (k keys) leaf() *x509.Certificate { return k.chain[0] }

// pair waits until a Secret holds a pair that a check finds nothing wrong with, and that is whole.
func (w *world) pair(name string, check func(keys) string) keys {
	w.Helper()
	var k keys
	eventually(w.T, func() string {
		k = keys{secret: new(corev1.Secret)}
		if err := w.Get(w.Context(), w.key(name), k.secret); err != nil {
			return err.Error()
		}
		problem := k.read()
		if problem == "" {
			problem = check(k)
		}
		return problem
	})
	return k
}

func (k *keys) read() string {
	var err error
	if k.chain, err = pemfile.Certificates(k.secret.Data["tls.crt"]); err != nil {
		return err.Error()
	}
	key, err := pemfile.Key(k.secret.Data["tls.key"])
	if err != nil {
		return err.Error()
	}
	k.key = key.(*ecdsa.PrivateKey)
	if k.roots, err = pemfile.Certificates(k.secret.Data["ca.crt"]); err != nil {
		return err.Error()
	}
	if _, err := identity.NewCredentials(k.chain, k.key, k.roots, trustNow()); err != nil {
		return err.Error()
	}
	return ""
}

func anyPair(keys) string { return "" }

// another returns a check that the pair is a new one.
func another(than keys) func(keys) string {
	return func(k keys) string {
		if bytes.Equal(k.secret.Data["tls.crt"], than.secret.Data["tls.crt"]) || k.key.Equal(than.key) {
			return "it is the same pair"
		}
		return ""
	}
}

func testPairMade(t *testing.T) {
	w := newSecretWorld(t)
	defer w.leave()
	w.service("inventory", "selector: {app: inventory}\nidentity: {duration: 1h, secretName: inventory-tls}")
	k := w.pair("inventory-tls", anyPair)
	s := w.ready("inventory")
	if k.secret.Type != corev1.SecretTypeTLS || len(k.secret.Data) != 3 {
		t.Errorf("the Secret is of type %s with %d keys", k.secret.Type, len(k.secret.Data))
	}
	wantLabels := map[string]string{"app.kubernetes.io/managed-by": "xinhari", "xinhari.com/service": "inventory"}
	if diff := cmp.Diff(wantLabels, k.secret.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if !metav1.IsControlledBy(k.secret, s) || len(k.secret.OwnerReferences) != 1 {
		t.Errorf("owners are %v", k.secret.OwnerReferences)
	}
	if k.key.Curve != elliptic.P256() || !bytes.HasPrefix(k.secret.Data["tls.key"], []byte("-----BEGIN PRIVATE KEY-----")) {
		t.Error("the key is not on P-256 or not in PKCS #8")
	}
	id, err := identity.IDOf(k.leaf())
	if want := "spiffe://cluster.local/ns/" + w.namespace + "/sa/inventory"; err != nil || id.String() != want {
		t.Errorf("the certificate is of %v, %v; want %s", id, err, want)
	}
	if diff := cmp.Diff([]string{"inventory." + w.namespace + ".svc"}, k.leaf().DNSNames); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if life := k.leaf().NotAfter.Sub(k.leaf().NotBefore); life != time.Hour+leaf.Backdate {
		t.Errorf("it lives %v", life)
	}
	if identity.BundleHash(k.roots) != identity.BundleHash(w.bundle()) {
		t.Errorf("it trusts %q", rootNames(k.roots))
	}
	said := meta.FindStatusCondition(s.Status.Conditions, xinhariv1alpha1.ConditionKeyInSecret)
	if said == nil || said.Status != metav1.ConditionTrue || !strings.Contains(said.Message, "who can read Secret inventory-tls") || !strings.Contains(said.Message, id.String()) {
		t.Errorf("KeyInSecret is %+v", said)
	}
	if strings.Contains(said.Message, "run out") {
		t.Errorf("a life of an hour is warned of: %s", said.Message)
	}
	eventually(t, func() string {
		found := false
		gather(t, func(metric, _ string, value float64) {
			found = found || metric == "xinhari_keypair_expiry_seconds" && value > 3500 && value <= 3600
		})
		if !found {
			return "no metric says when it ends"
		}
		return ""
	})
}

func testPairFollows(t *testing.T) {
	w := newSecretWorld(t)
	defer w.leave()
	spec := "selector: {app: inventory, tier: back}\nidentity: {secretName: inventory-tls"
	w.service("inventory", spec+"}")
	k := w.pair("inventory-tls", anyPair)
	names := func(want ...string) func(keys) string {
		return func(now keys) string {
			for i := range want {
				want[i] = strings.TrimSuffix(want[i], "."+w.namespace+".svc") + "." + w.namespace + ".svc"
			}
			if diff := cmp.Diff(want, now.leaf().DNSNames); diff != "" {
				return diff
			}
			return another(k)(now)
		}
	}
	// Every pod of inventory is one of back's too, and not each is one of blue's.
	w.service("blue", "selector: {app: inventory, colour: blue}\nserviceAccountName: inventory")
	w.service("other", "selector: {tier: back}")
	w.service("back", "selector: {tier: back}\nserviceAccountName: inventory\nidentity: {duration: 2h}")
	k = w.pair("inventory-tls", names("back", "inventory"))
	if life := k.leaf().NotAfter.Sub(leaf.Issued(k.leaf())); life != 2*time.Hour {
		t.Errorf("it lives %v, want the shortest of its Services' lives", life)
	}
	w.service("back", "selector: {tier: back}")
	k = w.pair("inventory-tls", names("inventory"))
	w.service("inventory", spec+", duration: 3h}")
	k = w.pair("inventory-tls", func(now keys) string {
		if life := now.leaf().NotAfter.Sub(leaf.Issued(now.leaf())); life != 3*time.Hour {
			return fmt.Sprintf("it lives %v", life)
		}
		return another(k)(now)
	})
	w.service("inventory", spec+", duration: 1m}\nserviceAccountName: stock")
	w.pair("inventory-tls", func(now keys) string {
		if id, err := identity.IDOf(now.leaf()); err != nil || id.ServiceAccount != "stock" {
			return fmt.Sprintf("it is of %v, %v", id, err)
		}
		return another(k)(now)
	})
	eventually(t, func() string {
		said := meta.FindStatusCondition(w.ready("inventory").Status.Conditions, xinhariv1alpha1.ConditionKeyInSecret)
		if said == nil || !strings.Contains(said.Message, "run out") || !strings.Contains(said.Message, "sa/stock") {
			return fmt.Sprintf("a life of a minute is not warned of: %+v", said)
		}
		return ""
	})
}

// wantLooked waits until the operator has begun to look at a Secret anew, and has looked at it.
func (w *world) wantLooked(name string) {
	w.Helper()
	reads := func() int {
		n := 0
		for _, e := range requests(w.T) {
			if e.Verb == "get" && e.ObjectRef.Resource == "secrets" && e.ObjectRef.Namespace == w.namespace && e.ObjectRef.Name == name {
				n++
			}
		}
		return n
	}
	before := reads()
	eventually(w.T, func() string {
		if reads() < before+3 { // one may have been on its way, and what follows from one is done before the next
			return "nobody looks at Secret " + name
		}
		return ""
	})
}

func testPairRenewed(t *testing.T) {
	w := newSecretWorld(t)
	defer w.leave()
	defer trustAhead.Store(0)
	w.service("inventory", "selector: {app: inventory}\nidentity: {secretName: inventory-tls}")
	first := w.pair("inventory-tls", anyPair)
	w.ready("inventory")
	trustAhead.Store(int64(12*time.Hour - 2*time.Minute))
	w.wantLooked("inventory-tls")
	if problem := another(first)(w.pair("inventory-tls", anyPair)); problem == "" {
		t.Error("it is renewed before half of its life is over")
	}
	trustAhead.Store(int64(12*time.Hour + time.Minute))
	w.pair("inventory-tls", func(k keys) string {
		if problem := another(first)(k); problem != "" {
			return problem
		}
		if left := time.Until(k.leaf().NotAfter); left < 35*time.Hour {
			return fmt.Sprintf("it ends in %v", left)
		}
		return ""
	})
}

func testPairDrift(t *testing.T) {
	w := newSecretWorld(t)
	defer w.leave()
	w.service("inventory", "selector: {app: inventory}\nidentity: {secretName: inventory-tls}")
	k := w.pair("inventory-tls", anyPair)
	other := p256(t)
	text, err := pemfile.EncodeKey(other)
	if err != nil {
		t.Fatal(err)
	}
	_, foreign := brought(t, "foreign", true)
	for _, edit := range []struct {
		name   string
		change func(*corev1.Secret)
		same   bool // the pair need not change
	}{
		{"another key", func(s *corev1.Secret) { s.Data["tls.key"] = text }, false},
		{"no certificate", func(s *corev1.Secret) { s.Data["tls.crt"] = []byte("none") }, false},
		{"another CA's pair", func(s *corev1.Secret) { s.Data = foreign }, false},
		{"another root beside", func(s *corev1.Secret) { s.Data["ca.crt"] = append(bytes.Clone(s.Data["ca.crt"]), foreign["ca.crt"]...) }, true},
		{"a key more", func(s *corev1.Secret) { s.Data["more"] = []byte("more") }, true},
		{"no owner", func(s *corev1.Secret) { s.OwnerReferences = nil }, true},
		{"immutable", func(s *corev1.Secret) { s.Immutable = new(true) }, false},
	} {
		t.Run(edit.name, func(t *testing.T) {
			w := &world{T: t, Client: w.Client, namespace: w.namespace}
			before := w.pair("inventory-tls", anyPair)
			edited := before.secret.DeepCopy()
			edit.change(edited)
			if err := w.Update(t.Context(), edited); err != nil {
				t.Fatal(err)
			}
			k = w.pair("inventory-tls", func(now keys) string {
				switch {
				case now.secret.ResourceVersion == edited.ResourceVersion:
					return "nobody put it right"
				case len(now.secret.Data) != 3 || identity.BundleHash(now.roots) != identity.BundleHash(before.roots) || len(now.secret.OwnerReferences) != 1:
					return fmt.Sprintf("it is %v with roots %q", now.secret.ObjectMeta, rootNames(now.roots))
				}
				return ""
			})
			if same := another(before)(k) != ""; same != edit.same {
				t.Errorf("the pair is the same: %v", same)
			}
		})
	}
	k.secret.Labels["team"] = "blue"
	k.secret.Annotations = map[string]string{"note": "kept"}
	k.secret.Data["tls.key"] = []byte("none")
	if err := w.Update(t.Context(), k.secret); err != nil {
		t.Fatal(err)
	}
	k = w.pair("inventory-tls", another(k))
	if k.secret.Labels["team"] != "blue" || k.secret.Annotations["note"] != "kept" {
		t.Errorf("what others added is gone: %v %v", k.secret.Labels, k.secret.Annotations)
	}
	if err := w.Delete(t.Context(), k.secret); err != nil {
		t.Fatal(err)
	}
	w.pair("inventory-tls", another(k))
}

func testPairNotOwned(t *testing.T) {
	w := newSecretWorld(t)
	defer w.leave()
	theirs := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "theirs", Namespace: w.namespace, Labels: map[string]string{"app.kubernetes.io/managed-by": "xinhari"}},
		Data:       map[string][]byte{"password": []byte("x")},
	}
	if err := w.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.service("inventory", "selector: {app: inventory}\nidentity: {secretName: theirs}")
	s := w.settled("inventory", metav1.ConditionFalse, xinhariv1alpha1.ReasonNotOwned)
	ready := meta.FindStatusCondition(s.Status.Conditions, xinhariv1alpha1.ConditionReady)
	for _, word := range []string{"Secret theirs", "secretName", "delete it"} {
		if !strings.Contains(ready.Message, word) {
			t.Errorf("%q does not say %q", ready.Message, word)
		}
	}
	if meta.IsStatusConditionTrue(s.Status.Conditions, xinhariv1alpha1.ConditionKeyInSecret) {
		t.Error("KeyInSecret is said of someone else's Secret")
	}
	now := new(corev1.Secret)
	if err := w.Get(t.Context(), w.key("theirs"), now); err != nil || now.ResourceVersion != theirs.ResourceVersion {
		t.Errorf("someone wrote it: %v", err)
	}
	// Two Services that name one Secret: it is the first one's.
	w.service("inventory", "selector: {app: inventory}\nidentity: {secretName: shared}")
	w.ready("inventory")
	w.service("orders", "selector: {app: orders}\nidentity: {secretName: shared}")
	w.settled("orders", metav1.ConditionFalse, xinhariv1alpha1.ReasonNotOwned)
	w.service("orders", "selector: {app: orders}\nidentity: {secretName: theirs}")
	w.settled("orders", metav1.ConditionFalse, xinhariv1alpha1.ReasonNotOwned)
	if err := w.Delete(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.pair("theirs", anyPair)
	w.ready("orders")
}

func testPairNotGranted(t *testing.T) {
	w := newWorld(t)
	w.service("inventory", "selector: {app: inventory}\nidentity: {secretName: inventory-tls}")
	s := w.settled("inventory", metav1.ConditionFalse, xinhariv1alpha1.ReasonNotGranted)
	ready := meta.FindStatusCondition(s.Status.Conditions, xinhariv1alpha1.ConditionReady)
	for _, word := range []string{"secretNamespaces", w.namespace, "spec.identity.secretName"} {
		if !strings.Contains(ready.Message, word) {
			t.Errorf("%q does not say %q", ready.Message, word)
		}
	}
	if len(s.Status.Conditions) != 2 {
		t.Errorf("conditions are %+v", s.Status.Conditions)
	}
	w.service("inventory", "selector: {app: inventory}")
	w.ready("inventory")
	granted := false
	for _, e := range requests(t) {
		if e.ObjectRef.Resource != "secrets" {
			continue
		}
		switch e.ObjectRef.Namespace {
		case secretNamespace:
			granted = true
			if e.Verb == "watch" {
				t.Error("the operator watches Secrets of a namespace that is not its own")
			}
		case operatorNamespace:
		default:
			t.Errorf("the operator asked to %s Secret %q of namespace %q", e.Verb, e.ObjectRef.Name, e.ObjectRef.Namespace)
		}
	}
	if !granted {
		t.Error("the audit log holds no request for a Secret, so this test shows nothing")
	}
}

// wantGone waits until there is no Secret of a name.
func (w *world) wantGone(name string) {
	w.Helper()
	eventually(w.T, func() string {
		if err := w.Get(w.Context(), w.key(name), new(corev1.Secret)); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("Secret %s is still there: %v", name, err)
		}
		return ""
	})
}

func testPairGoes(t *testing.T, stop, start func()) {
	w := newSecretWorld(t)
	defer w.leave()
	labels := map[string]string{"app.kubernetes.io/managed-by": "xinhari", "xinhari.com/service": "inventory"}
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "theirs", Namespace: w.namespace, Labels: labels}}
	if err := w.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.service("inventory", "selector: {app: inventory}\nidentity: {secretName: first}")
	first := w.pair("first", anyPair)
	w.service("inventory", "selector: {app: inventory}\nidentity: {secretName: second}")
	w.pair("second", another(first))
	w.wantGone("first")
	s := w.ready("inventory")

	// An operator that died between making one and removing the other.
	stop()
	left := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: "third", Namespace: w.namespace, Labels: labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s, xinhariv1alpha1.Kind("Service"))},
	}, Type: corev1.SecretTypeTLS, Data: first.secret.Data}
	if err := w.Create(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	start()
	w.wantGone("third")
	w.service("inventory", "selector: {app: inventory}")
	w.wantGone("second")
	eventually(t, func() string {
		if s := w.ready("inventory"); len(s.Status.Conditions) != 1 {
			return fmt.Sprintf("conditions are %+v", s.Status.Conditions)
		}
		return ""
	})
	if err := w.Get(t.Context(), w.key("theirs"), theirs); err != nil {
		t.Errorf("a Secret that nobody owns: %v", err)
	}
}

func testPairFails(t *testing.T) {
	w := newSecretWorld(t)
	defer w.leave()
	// The API server refuses a Secret of this name.
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "no-secret-of-this-name"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{"CREATE"},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.metadata.name != 'refused'", Message: "not this one"}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: policy.Name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: policy.Name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	for _, o := range []client.Object{policy, binding} {
		if err := w.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() string {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "refused", Namespace: w.namespace}}
		if err := w.Create(t.Context(), secret, client.DryRunAll); err == nil {
			return "it is not refused"
		}
		return ""
	})
	w.service("inventory", "selector: {app: inventory}\nidentity: {secretName: refused}")
	w.settled("inventory", metav1.ConditionFalse, xinhariv1alpha1.ReasonFailed)
	eventually(t, func() string {
		var list eventsv1.EventList
		if err := w.List(t.Context(), &list, client.InNamespace(w.namespace)); err != nil {
			return err.Error()
		}
		told := false
		for _, e := range list.Items {
			told = told || e.Regarding.Name == "inventory" && e.Type == "Warning" && strings.Contains(e.Note, "not this one") && e.Action == "KeepSecret"
		}
		counted := false
		gather(t, func(metric, _ string, value float64) {
			counted = counted || metric == "xinhari_keypair_failures_total" && value > 0
		})
		if !told || !counted {
			return fmt.Sprintf("the failure is told: %v, counted: %v", told, counted)
		}
		return ""
	})
	for _, o := range []client.Object{binding, policy} {
		if err := w.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	w.pair("refused", anyPair)
	w.ready("inventory")
}

// mount has the folder hold what the Secret does, as a kubelet would.
func mount(t *testing.T, folder string, k keys) {
	t.Helper()
	for name, data := range k.secret.Data {
		temporary := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(temporary, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temporary, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func testPairRotation(t *testing.T, stop, start func()) {
	w := newSecretWorld(t)
	defer w.leave()
	defer trustAhead.Store(0)
	w.wantPhase(trust.Stable)
	w.service("inventory", "selector: {app: inventory}\nidentity: {secretName: inventory-tls}")
	before := w.pair("inventory-tls", anyPair)

	// A program that has the Secret mounted. It is never started again.
	folder := t.TempDir()
	mount(t, folder, before)
	program, err := filesource.New(folder, filesource.Options{Source: identity.SourceOptions{Poll: 20 * time.Millisecond, Now: trustNow}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- program.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	uses := func(k keys) {
		t.Helper()
		mount(t, folder, k)
		eventually(t, func() string {
			c := program.Current()
			switch {
			case c.IsZero():
				return "the program has no credentials"
			case !c.Certificate().Leaf.Equal(k.leaf()) || c.BundleHash() != identity.BundleHash(k.roots):
				return "the program uses something else"
			}
			return ""
		})
	}
	uses(before)

	signing := w.secret("xinhari-signing").Data["tls.crt"]
	w.rotate("start")
	w.wantPhase(trust.Distributing)
	told := w.pair("inventory-tls", func(k keys) string {
		if len(k.roots) != 2 {
			return fmt.Sprintf("it trusts %q", rootNames(k.roots))
		}
		return ""
	})
	if another(before)(told) == "" {
		t.Error("the pair is another since a root was added")
	}
	uses(told)
	w.wantCondition("Rotating", "waits for 1 of 1 workloads to trust", w.namespace+"/secret/inventory-tls")
	// Another leader knows it by reading it, and not since when it says so.
	trustAhead.Store(int64(100 * time.Second))
	stop()
	start()
	w.wantLooked("inventory-tls")
	trustAhead.Store(int64(130 * time.Second))
	w.wantLooked("inventory-tls")
	w.wantCondition("Rotating", "waits for 1 of 1 workloads to trust", w.namespace+"/secret/inventory-tls")
	if !bytes.Equal(signing, w.secret("xinhari-signing").Data["tls.crt"]) {
		t.Error("another issuer signs before the readers of the Secret can know its root")
	}
	trustAhead.Store(int64(230 * time.Second))
	w.wantPhase(trust.Retiring)
	renewed := w.pair("inventory-tls", another(told))
	if len(renewed.roots) != 2 || renewed.leaf().CheckSignatureFrom(w.issuer()) != nil {
		t.Errorf("the new pair is signed by %v, with roots %q", renewed.leaf().Issuer, rootNames(renewed.roots))
	}
	w.wantCondition("Rotating", "waits for 1 of 1 workloads to be signed by", w.namespace+"/secret/inventory-tls")
	w.wantBundle(2) // whoever still has the old one is trusted
	trustAhead.Store(int64(400 * time.Second))
	uses(renewed)
	w.wantPhase(trust.Stable)
	uses(w.pair("inventory-tls", func(k keys) string {
		if len(k.roots) != 1 {
			return fmt.Sprintf("it trusts %q", rootNames(k.roots))
		}
		if another(renewed)(k) == "" {
			t.Error("the pair is another since a root is gone")
		}
		return ""
	}))
}

// issuer returns the certificate of the issuer that signs.
func (w *world) issuer() *x509.Certificate {
	w.Helper()
	certs, err := pemfile.Certificates(w.secret("xinhari-signing").Data["tls.crt"])
	if err != nil {
		w.Fatal(err)
	}
	return certs[0]
}
